# A director's agent and the command line in one image. docker build -t leasehold:0.1.0 .
#
# The agent programs the kernel of the network namespace it runs in. On a director that is the host's own:
#   docker run -d --name leasehold --restart always --init --network host \
#     --cap-add NET_ADMIN --cap-add NET_RAW \
#     -v /etc/leasehold:/etc/leasehold:ro -v /run/leasehold:/run/leasehold leasehold:0.1.0
# --init: programs of the document may leave children behind, and the agent as process 1 would never reap them.
# The image has no kernel modules: the host loads ip_vs (deploy/systemd/modules-load.d/leasehold.conf).

FROM node:24-bookworm-slim AS build
# The native packages compile against the headers that the image has, and download none.
ENV npm_config_nodedir=/usr/local
RUN apt-get update \
  && apt-get install -y --no-install-recommends python3 make g++ \
  && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/leasehold
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY tsconfig.json ./
COPY scripts/build.mjs scripts/build.mjs
COPY bin bin
COPY src src
RUN npm run build && npm prune --omit=dev

FROM node:24-bookworm-slim
ENV NODE_ENV=production
WORKDIR /opt/leasehold
COPY --from=build /opt/leasehold/package.json package.json
COPY --from=build /opt/leasehold/node_modules node_modules
COPY --from=build /opt/leasehold/dist dist
COPY --from=build /opt/leasehold/bin bin
COPY LICENSE LICENSE
RUN ln -s /opt/leasehold/bin/leasehold /usr/local/bin/leasehold
# Root, because a capability of the container reaches only root's processes; NET_ADMIN and NET_RAW are all it uses.
USER root
# For the default address of the API; an agent that listens elsewhere or with TLS needs a check of its own.
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:7480/livez').then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["leasehold"]
CMD ["agent", "--config", "/etc/leasehold/agent.yaml"]
