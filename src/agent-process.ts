/** The composition root of the agent: configuration → adapters → agent → API. With main.ts the only file that knows all layers. */
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createAnnouncer } from './adapters/announce/create-announcer.ts';
import { createZlibCodec } from './adapters/documents/zlib-codec.ts';
import { createEtcdStore } from './adapters/etcd/etcd-store.ts';
import { createGatewayPing } from './adapters/gateway/create-gateway-ping.ts';
import { createFileLedger } from './adapters/ledger/file-ledger.ts';
import { createStatusFile } from './adapters/ledger/status-file.ts';
import { createSysctlLedger } from './adapters/ledger/sysctl-ledger.ts';
import { createIpvsKernel } from './adapters/linux/ipvs-kernel.ts';
import { createNetworkKernel } from './adapters/linux/network-kernel.ts';
import { detectFence } from './adapters/linux/nft-fence-detect.ts';
import { createNftMarks } from './adapters/linux/nft-marks.ts';
import { createSysctls } from './adapters/linux/sysctls.ts';
import { missingCapabilities } from './adapters/machine/capabilities.ts';
import { readMachineIdentity } from './adapters/machine/identity.ts';
import { createPlaceReader } from './adapters/machine/place.ts';
import { takeInstanceLock } from './adapters/machine/single-instance.ts';
import { createNeighbours } from './adapters/neighbours/create-neighbours.ts';
import { createNotifier } from './adapters/notify/create-notifier.ts';
import { createPeerLink } from './adapters/peer-link/create-peer-link.ts';
import { createLineOutput } from './adapters/pino/line-output.ts';
import { createPinoLog } from './adapters/pino/pino-log.ts';
import { createReadableLines } from './adapters/pino/readable-lines.ts';
import { createProber } from './adapters/probes/create-prober.ts';
import { createPromMetrics } from './adapters/prom/prom-metrics.ts';
import { createTracker } from './adapters/tracks/create-tracker.ts';
import { createVrrpLink } from './adapters/vrrp/create-vrrp-link.ts';
import { type AgentPorts, createAgent } from './agent/agent.ts';
import { FREEZE } from './agent/shut-down.ts';
import { createApi } from './api/server.ts';
import { type AgentConfig, loadAgentConfig } from './config/agent-file.ts';
import { parseClusterDocument, parseSpecSteps } from './config/cluster-document.ts';
import { formatProblems } from './config/problem.ts';
import { planRebalance } from './core/placement/rebalance.ts';
import { checkShrinkSteps } from './core/shrink-guard.ts';
import { err, messageOf, ok, type Result } from './lib/result.ts';
import { createPace, runPaced } from './lib/steps.ts';
import { formatIp, type IpAddress } from './model/address.ts';
import type { ClusterSpec } from './model/cluster.ts';
import { createKeys } from './model/keys.ts';
import type { SpecRecord } from './model/records.ts';
import type { Clock } from './ports/clock.ts';
import type { DocumentCodec } from './ports/document-codec.ts';
import type { Log } from './ports/log.ts';
import type { Random } from './ports/random.ts';

export type AgentProcess = {
  /** agent.yaml */
  readonly file: string;
  readonly isDev: boolean;
  readonly version: string;
  /** Aborts when the agent shall end; with the reason `FREEZE` it freezes, else it ends as agent.yaml says. */
  readonly signal: AbortSignal;
  readonly clock: Clock;
  readonly random: Random;
  readonly stdout: (text: string) => void;
  readonly stderr: (text: string) => void;
  /** For tests that stand between the agent and its adapters; left out in production. */
  readonly adapt?: (adapters: Adapters) => Adapters;
};

/** What of an agent's ports is the machine's. */
export type Adapters = Omit<AgentPorts, 'clock' | 'random' | 'log' | 'metrics'>;

const EXIT_OK = 0;
const EXIT_FAILED = 1;
const EXIT_BAD_INPUT = 2;

/** Runs until a signal; answers the exit code. Bad input changes nothing and says everything at once. */
export async function runAgent(options: AgentProcess): Promise<number> {
  const { file, isDev, stdout, stderr } = options;
  const loaded = await loadAgentConfig(file);
  if (!loaded.ok) {
    stderr(`${file}:\n${formatProblems(loaded.error)}\n`);
    return EXIT_BAD_INPUT;
  }
  const config = loaded.value;
  const lock = await takeInstanceLock();
  if (!lock.ok) {
    stderr(`${lock.error}\n`);
    return EXIT_BAD_INPUT;
  }
  try {
    mkdirSync(config.stateDir, { recursive: true });
  } catch (error) {
    stderr(`stateDir: ${config.stateDir} cannot be made: ${messageOf(error)}\n`);
    return EXIT_BAD_INPUT;
  }
  const log = isDev
    ? createPinoLog({ level: 'debug', name: 'leasehold' }, createReadableLines(stdout))
    : createOutputLog(config, options.clock);
  endOnBugs(log);
  if (lock.value.warning !== null) log.warn({ problem: lock.value.warning }, 'lock.unshared');
  try {
    return await serve(config, log, options);
  } finally {
    lock.value.release();
  }
}

/** On standard output: pino's own way there ends the process, or keeps it from ending, where the disk is full. */
function createOutputLog(config: AgentConfig, clock: Clock): Log {
  const lost = (lines: number): void => log.warn({ lines }, 'log.lines-lost');
  const output = createLineOutput(process.stdout.fd, { clock, lost });
  process.on('exit', () => output.flush());
  const log = createPinoLog({ level: config.log.level, name: 'leasehold' }, output);
  return log;
}

async function serve(config: AgentConfig, log: Log, options: AgentProcess): Promise<number> {
  const { clock, random, version, signal, stderr } = options;
  const keys = createKeys(config.cluster);
  const metrics = createPromMetrics({
    director: config.director,
    cluster: config.cluster,
    realServerSeries: config.metrics.realServers,
  });
  const codec = createZlibCodec({ clock });
  const own = await createAdapters(config, log, options);
  const adapters = options.adapt?.(own) ?? own;
  const hostProblems = missingCapabilities();
  for (const problem of hostProblems) log.error({ problem }, 'capability.missed');
  const agent = createAgent(
    {
      me: config.director,
      cluster: config.cluster,
      keys,
      version,
      identity: readMachineIdentity(random, config.identity),
      startedAt: clock.wallTime(),
      devices: config.interfaces,
      hostProblems,
      realServerSeries: config.metrics.realServers,
      parseSpec,
      loadSpec: (record) => loadSpec(record, { codec, clock }),
    },
    { ...adapters, clock, random, log, metrics },
  );
  const { host, port, tls, tokens } = config.api;
  const api = createApi(
    {
      listen: { host, port },
      ...(tls === null ? {} : { tls }),
      ...(tokens === null ? {} : { tokens }),
      version,
      checkShrink: checkShrinkSteps,
      planRebalance,
    },
    { view: agent.view, store: adapters.store, codec, keys, clock, random, metrics, log },
  );
  try {
    const started = await api.start();
    if (!started.ok) {
      stderr(`${started.error}\n`);
      return EXIT_BAD_INPUT;
    }
    const { address } = started.value;
    log.info(
      { director: config.director, api: `${address}:${started.value.port}` },
      'agent.started',
    );
    await agent.run(endSignal(signal, config));
    log.info({ director: config.director }, 'agent.ended');
    return EXIT_OK;
  } catch (error) {
    log.error({ error }, 'agent.failed');
    return EXIT_FAILED;
  } finally {
    await api.close();
    const { tracker, notifier, peerLink, announcer, neighbours, fence, ipvs, network, store } =
      adapters;
    await Promise.all([tracker.close(), notifier.close()]);
    for (const part of [peerLink, announcer, neighbours, ipvs, network, store]) part.close();
    fence?.close();
    adapters.marks?.close();
  }
}

/** The operator's word about how to end, in the agent's. */
function endSignal(signal: AbortSignal, { exit }: AgentConfig): AbortSignal {
  const ending = new AbortController();
  const end = (): void => {
    const isFreeze = signal.reason === FREEZE || exit === 'freeze';
    ending.abort(isFreeze ? FREEZE : undefined);
  };
  if (signal.aborted) end();
  else signal.addEventListener('abort', end, { once: true });
  return ending.signal;
}

async function createAdapters(
  config: AgentConfig,
  log: Log,
  { clock, random }: AgentProcess,
): Promise<Adapters> {
  const { director, cluster, peerPort, keys } = config;
  const place = createPlaceReader();
  const peerOptions = { director, cluster, bindAddress: anyAddress(), port: peerPort, keys };
  const devices = [...new Set(config.interfaces.values())];
  const { fence, detail } = await detectFence({ clock, log }, { devices });
  if (fence === null) log.warn({ kind: 'address-lifetime', detail }, 'gate.chosen');
  else log.info({ kind: fence.kind, detail }, 'gate.chosen');
  return {
    fence,
    neighbours: createNeighbours({}, { clock, log }),
    gateway: createGatewayPing({ clock, random }),
    tracker: createTracker({ clock, log }),
    notifier: createNotifier({ clock, log }),
    store: createEtcdStore(etcdOptions(config), { clock, log, random }),
    network: createNetworkKernel({ clock, log }),
    ipvs: createIpvsKernel({ clock, log }),
    announcer: createAnnouncer({}, { clock, log }),
    peerLink: createPeerLink(peerOptions, { clock, log, random }),
    prober: createProber({}, { clock, log, random }),
    vrrp: createVrrpLink({ clock, log }),
    ledger: createFileLedger(join(config.stateDir, `${cluster}.ipvs.json`), place),
    statuses: createStatusFile(join(config.stateDir, `${cluster}.statuses.json`)),
    marks: createNftMarks({ clock, log }),
    sysctls: {
      sysctls: createSysctls(),
      ledger: createSysctlLedger(join(config.stateDir, `${cluster}.sysctls.json`), place),
    },
  };
}

function etcdOptions({ etcd }: AgentConfig): Parameters<typeof createEtcdStore>[0] {
  const { ca, cert, key } = etcd.tls ?? { ca: null, cert: null, key: null };
  return {
    endpoints: etcd.endpoints,
    ...(etcd.tls === null
      ? {}
      : {
          tls: {
            ...(ca === null ? {} : { ca }),
            ...(cert === null ? {} : { cert }),
            ...(key === null ? {} : { key }),
          },
        }),
    ...(etcd.user === null || etcd.password === null
      ? {}
      : { user: etcd.user, password: etcd.password }),
  };
}

function parseSpec(document: unknown): Result<ClusterSpec, string> {
  const parsed = parseClusterDocument(document);
  return parsed.ok ? ok(parsed.value.spec) : err(formatProblems(parsed.error));
}

/** Piece by piece: a long document must not hold up the hold loop. */
async function loadSpec(
  record: SpecRecord,
  { codec, clock }: { readonly codec: DocumentCodec; readonly clock: Clock },
): Promise<Result<ClusterSpec, string>> {
  const document = await codec.read(record);
  if (!document.ok) return document;
  const parsed = await runPaced(parseSpecSteps(document.value), createPace(clock));
  return parsed.ok ? parsed : err(formatProblems(parsed.error));
}

/** A bug ends the process at once; the kernel drops the VIPs at their deadline, systemd starts anew. */
function endOnBugs(log: Log): void {
  const end = (error: unknown): void => {
    log.error({ error, problem: messageOf(error) }, 'agent.crashed');
    process.exit(EXIT_FAILED);
  };
  process.on('uncaughtException', end);
  process.on('unhandledRejection', end);
}

/**
 * Authenticity of a peer is its MAC, so every address of this director may receive: all of both
 * families where the kernel has IPv6, else all of IPv4.
 */
const anyAddress = (): IpAddress =>
  formatIp(new Uint8Array(existsSync('/proc/net/if_inet6') ? 16 : 4));
