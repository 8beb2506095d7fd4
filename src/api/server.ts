/**
 * The REST API of a director: reads from the agent's view, writes intents to the cluster store.
 * It decides nothing about holding and never touches the kernel.
 */
import { createServer as createHttpServer, type Server } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import swagger from '@fastify/swagger';
import Fastify, {
  type FastifyError,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  type FastifyServerFactoryHandler,
} from 'fastify';
import { parseJsonSteps } from '../lib/json-steps.ts';
import { err, messageOf, ok, type Result } from '../lib/result.ts';
import { createPace, runPaced } from '../lib/steps.ts';
import { createAuthenticate, isLoopback } from './auth.ts';
import type { ApiContext, ApiOptions, ApiPorts, TypeBoxTypeProvider } from './context.ts';
import { createLineAnswers } from './lines.ts';
import {
  createProblem,
  PROBLEM_TYPE,
  ProblemError,
  type ProblemCode,
  problemError,
} from './problem.ts';
import { registerCheckRoutes } from './routes/checks.ts';
import { registerConfigRoutes } from './routes/config.ts';
import { registerDirectorRoutes } from './routes/directors.ts';
import { registerEventRoutes } from './routes/events.ts';
import { registerHealthRoutes } from './routes/health.ts';
import { registerIpvsRoutes } from './routes/ipvs.ts';
import { registerOperationRoutes } from './routes/operations.ts';
import { registerRebalanceRoute } from './routes/rebalance.ts';
import { registerRealServerRoutes } from './routes/real-servers.ts';
import { registerStatusRoutes } from './routes/status.ts';
import { Problem } from './schemas/problem.ts';
import { limitUntaken } from './slow-readers.ts';
import { Turns } from './turns.ts';
import { compileValidator } from './validation.ts';

/** Of all bodies but those with a cluster document. */
const BODY_BYTES_MAX = 1_400_000;
/** From the first byte of a request to its last. */
const REQUEST_TIMEOUT_MS = 10_000;
const KEEP_ALIVE_TIMEOUT_MS = 30_000;
const CONNECTIONS_MAX = 1000;
/** Version of the API, not of the program: grows with what clients can rely on. */
const API_VERSION = '1.0.0';

export type Api = {
  /** Binds the address; the error is a sentence with the remedy. */
  start(): Promise<Result<{ readonly address: string; readonly port: number }, string>>;
  /** Ends the event streams, lets running requests end, frees the port. */
  close(): Promise<void>;
  /** For requests without a network, and for the OpenAPI document. */
  readonly app: FastifyInstance;
};

export function createApi(options: ApiOptions, ports: ApiPorts): Api {
  const ctx: ApiContext = {
    ...options,
    ...ports,
    streams: new Set(),
    documents: new Turns(ports.clock),
  };
  const app: FastifyInstance = Fastify({
    logger: false,
    bodyLimit: BODY_BYTES_MAX,
    routerOptions: { maxParamLength: 200 },
    frameworkErrors: (error, request, reply) =>
      void sendProblem(reply, foreignProblem(ctx, error, request)),
    serverFactory: (handler) => createServer(options, handler),
  });
  app.removeContentTypeParser('text/plain');
  readJson(app, ctx);
  app.setValidatorCompiler(compileValidator);
  app.setSerializerCompiler(() => (data) => JSON.stringify(data));
  handleErrors(app, ctx);
  guard(app, ctx);
  limitUntaken(app, ctx);
  describe(app);
  app.addHook('preClose', async () => {
    for (const stream of ctx.streams) stream.abort();
  });
  app.register(async (scope) => registerRoutes(scope, ctx));
  return { app, start: () => start(app, options), close: () => app.close() };
}

/** Longer bodies are parsed piece by piece. */
const PARSED_AT_ONCE = 65_536;
/** What the parser of the framework looks into, so that nobody changes the prototype of an object. */
const SUSPECT = /__proto__|constructor|\\u/;

function readJson(app: FastifyInstance, { clock }: ApiContext): void {
  const parseAtOnce = app.getDefaultJsonParser('error', 'error');
  app.removeContentTypeParser('application/json');
  app.addContentTypeParser<string>(
    'application/json',
    { parseAs: 'string' },
    async (request: FastifyRequest, body: string): Promise<unknown> => {
      if (body.length <= PARSED_AT_ONCE || SUSPECT.test(body))
        return await new Promise((resolve, reject) => {
          void parseAtOnce(request, body, (error, value) =>
            error === null ? resolve(value) : reject(error),
          );
        });
      try {
        return await runPaced(parseJsonSteps(body), createPace(clock));
      } catch (error) {
        throw problemError('bad-request', `the body: ${messageOf(error)}`);
      }
    },
  );
}

async function registerRoutes(scope: FastifyInstance, ctx: ApiContext): Promise<void> {
  const typed = scope.withTypeProvider<TypeBoxTypeProvider>();
  const answers = createLineAnswers(ctx);
  registerStatusRoutes(typed, ctx, answers);
  registerConfigRoutes(typed, ctx);
  registerDirectorRoutes(typed, ctx);
  registerRealServerRoutes(typed, ctx);
  registerCheckRoutes(typed, ctx);
  registerOperationRoutes(typed, ctx);
  registerRebalanceRoute(typed, ctx);
  registerIpvsRoutes(typed, ctx, answers);
  registerEventRoutes(typed, ctx);
  registerHealthRoutes(typed, ctx);
  typed.get('/openapi.json', { config: { role: 'open' }, schema: { hide: true } }, () =>
    scope.swagger(),
  );
}

function createServer(options: ApiOptions, handler: FastifyServerFactoryHandler): Server {
  const tls = options.tls ?? null;
  const limits = {
    requestTimeout: REQUEST_TIMEOUT_MS,
    headersTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
  };
  const server =
    tls === null
      ? createHttpServer(limits, handler)
      : createHttpsServer({ ...limits, ...tls, minVersion: 'TLSv1.2' }, handler);
  server.maxConnections = CONNECTIONS_MAX;
  return server;
}

async function start(
  app: FastifyInstance,
  options: ApiOptions,
): Promise<Result<{ readonly address: string; readonly port: number }, string>> {
  const { host, port } = options.listen;
  const isOpen = (options.tls ?? null) === null || (options.tokens ?? []).length === 0;
  if (isOpen && !isLoopback(host))
    return err(
      `api.listen: ${host} can be reached from outside, so it needs tls and tokens; or listen on 127.0.0.1`,
    );
  try {
    await app.listen({ host, port });
  } catch (error) {
    const cause = messageOf(error);
    const remedy = cause.includes('EADDRINUSE')
      ? 'another program listens there (see: ss -ltnp); choose another port in agent.yaml'
      : 'check api.listen in agent.yaml';
    return err(`api.listen: cannot listen on ${host}:${port}: ${cause}; ${remedy}`);
  }
  const bound = app.server.address();
  return bound === null || typeof bound === 'string'
    ? err(`api.listen: ${host}:${port} gave no address`)
    : ok({ address: bound.address, port: bound.port });
}

/** Finds out who asks before anything is read, and logs what was answered. */
function guard(app: FastifyInstance, ctx: ApiContext): void {
  const authenticate = createAuthenticate(ctx.tokens ?? []);
  app.decorateRequest('caller');
  app.addHook('onRequest', async (request) => {
    const needed = request.is404 ? 'open' : (request.routeOptions.config.role ?? 'viewer');
    request.caller = authenticate(request, needed);
  });
  app.addHook('onResponse', async (request, reply) => {
    const { method, url, caller } = request;
    ctx.log.debug(
      { method, url, status: reply.statusCode, by: caller?.name ?? null },
      'request.answered',
    );
  });
}

function handleErrors(app: FastifyInstance, ctx: ApiContext): void {
  app.setNotFoundHandler((request, reply) =>
    sendProblem(
      reply,
      createProblem('not-found', `there is no ${request.method} ${request.url}; see /openapi.json`),
    ),
  );
  app.setErrorHandler((error: FastifyError, request, reply) => {
    if (error instanceof ProblemError) {
      return sendProblem(reply.headers(error.headers), error.problem);
    }
    return sendProblem(reply, foreignProblem(ctx, error, request));
  });
}

/** Errors of the framework keep their meaning; anything else is a bug, and its text stays in the log. */
function foreignProblem(ctx: ApiContext, error: FastifyError, request: FastifyRequest): Problem {
  const code = FRAMEWORK_CODES.get(error.statusCode ?? 500);
  if (code === 'too-large') {
    const { bodyLimit } = request.routeOptions;
    return createProblem(code, `the body has more than ${bodyLimit} bytes; nothing was changed`);
  }
  if (code !== undefined) return createProblem(code, error.message);
  ctx.log.error(
    { method: request.method, url: request.url, error: error.message, stack: error.stack },
    'request.crashed',
  );
  return createProblem('internal', 'this is a bug; the log of the agent has the details');
}

const FRAMEWORK_CODES: ReadonlyMap<number, ProblemCode> = new Map([
  [400, 'bad-request'],
  [404, 'not-found'],
  [413, 'too-large'],
  [414, 'uri-too-long'],
  [415, 'unsupported-media-type'],
]);

const sendProblem = (reply: FastifyReply, problem: Problem): FastifyReply =>
  reply
    .code(problem.status)
    .type(PROBLEM_TYPE)
    .serializer((data: unknown) => JSON.stringify(data))
    .send(problem);

function describe(app: FastifyInstance): void {
  app.addSchema(Problem);
  app.register(swagger, {
    refResolver: {
      buildLocalReference: (schema, _baseUri, _fragment, i) =>
        typeof schema['$id'] === 'string' ? schema['$id'] : `schema-${i}`,
    },
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'leasehold',
        version: API_VERSION,
        description:
          'Every director of a cluster serves this API. Writes are intents in the cluster store, ' +
          'so any director will do. Errors are RFC 9457 problem documents.',
      },
      components: {
        securitySchemes: {
          token: {
            type: 'http',
            scheme: 'bearer',
            description: 'needed where the director has tokens configured',
          },
        },
      },
      security: [{}, { token: [] }],
    },
    transformObject: (told) =>
      'openapiObject' in told ? withAnyProblem(told.openapiObject) : told.swaggerObject,
  });
}

/** What the server refuses whatever is asked: a role, a length, a kind of content, a store that is away. */
function withAnyProblem<T extends { readonly paths?: object }>(document: T): T {
  const content = { [PROBLEM_TYPE]: { schema: { $ref: '#/components/schemas/Problem' } } };
  const paths: readonly Record<string, Responding>[] = Object.values(document.paths ?? {});
  for (const operations of paths)
    for (const { responses } of Object.values(operations))
      responses['default'] = {
        description: 'any other problem; its type and detail tell which',
        content,
      };
  return document;
}

type Responding = { readonly responses: Record<string, unknown> };
