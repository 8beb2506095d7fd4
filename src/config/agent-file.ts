/** Loads agent.yaml, the one file each director has of its own, and the files it names. */
import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import Value from 'typebox/value';
import { assert } from '../lib/assert.ts';
import { err, messageOf, ok, type Result } from '../lib/result.ts';
import { type DirectorId, directorId } from '../model/ids.ts';
import { parseIp } from '../model/address.ts';
import {
  type AgentDocument,
  agentConfigSchema,
  type ExitMode,
  type LogLevel,
} from './agent-schema.ts';
import { parseYaml } from './cluster-document.ts';
import type { Problem } from './problem.ts';
import { at, itemsOf, type Raw, textOf } from './raw.ts';
import { type ApiToken, SecretFiles } from './secret-files.ts';
import { explainShape } from './shape.ts';

/** PEM texts. */
export type TlsMaterial = {
  readonly ca: string | null;
  readonly cert: string | null;
  readonly key: string | null;
};

/** Everything one director needs to start, checked and with its files read. Holds secrets: never log it. */
export type AgentConfig = {
  readonly director: DirectorId;
  readonly cluster: string;
  readonly etcd: {
    /** Base URLs without a trailing slash, all http or all https. */
    readonly endpoints: readonly string[];
    /** Null: plain http. */
    readonly tls: TlsMaterial | null;
    readonly user: string | null;
    readonly password: string | null;
  };
  /** Logical interface name to device. */
  readonly interfaces: ReadonlyMap<string, string>;
  readonly api: {
    readonly host: string;
    /** 0: any free port. */
    readonly port: number;
    readonly tls: { readonly cert: string; readonly key: string } | null;
    /** Null: no tokens are asked for, which is possible on loopback only. */
    readonly tokens: readonly ApiToken[] | null;
  };
  /** Signing keys of 32 bytes or more: the first signs, all verify. */
  readonly keys: readonly Uint8Array[];
  readonly peerPort: number;
  readonly stateDir: string;
  readonly exit: ExitMode;
  /** With more real servers than this, metrics of each of them are left out. */
  readonly metrics: { readonly realServers: number };
  readonly log: { readonly level: LogLevel };
  /** In place of this machine's own ids; null in production. */
  readonly identity: { readonly machine: string; readonly boot: string } | null;
};

const DEFAULT_LISTEN = '127.0.0.1:7480';
const DEFAULT_PEER_PORT = 7481;
/** Some 40,000 samples: what a Prometheus keeps without anybody's thinking of it. */
export const DEFAULT_METRIC_REAL_SERVERS = 2000;
const DEFAULT_STATE_DIR = '/run/leasehold';

/** Reads and judges the file; the error holds every problem, never none. */
export async function loadAgentConfig(
  path: string,
): Promise<Result<AgentConfig, readonly Problem[]>> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    return err([
      { path: '', message: `cannot be read: ${messageOf(error)}`, allowed: 'a readable file' },
    ]);
  }
  const plain = parseYaml(text);
  if (!plain.ok) return plain;
  return parseAgentConfig(plain.value, dirname(path));
}

/** The same for a parsed document; relative file names begin at `directory`. */
export async function parseAgentConfig(
  document: unknown,
  directory: string,
): Promise<Result<AgentConfig, readonly Problem[]>> {
  const root: Raw = { path: '', value: document };
  const files = new SecretFiles(directory);
  const etcdTls = await readEtcdTls(at(at(root, 'etcd'), 'tls'), files);
  const password = await files.password(at(at(root, 'etcd'), 'passwordFile'));
  const apiTls = await readApiTls(at(at(root, 'api'), 'tls'), files);
  const tokens = await files.tokens(at(at(root, 'api'), 'tokensFile'));
  const keys = await files.keys(at(root, 'keyFile'));
  const problems = [
    ...explainShape(agentConfigSchema, document),
    ...etcdProblems(at(root, 'etcd')),
    ...apiProblems(at(root, 'api')),
    ...files.problems,
  ];
  if (problems.length > 0) return err(problems);
  assert(Value.Check(agentConfigSchema, document), 'shape.ts and the schema disagree');
  const isHttps = document.etcd.endpoints.some((endpoint) => endpoint.startsWith('https:'));
  return ok({
    ...plainValues(document),
    etcd: {
      endpoints: document.etcd.endpoints.map((endpoint) => endpoint.replace(/\/$/, '')),
      // https without material of its own trusts the system's authorities.
      tls: etcdTls ?? (isHttps ? { ca: null, cert: null, key: null } : null),
      user: document.etcd.user ?? null,
      password,
    },
    api: { ...listenOf(document), tls: apiTls, tokens: tokens.length === 0 ? null : tokens },
    keys,
  });
}

function plainValues(document: AgentDocument): Omit<AgentConfig, 'etcd' | 'api' | 'keys'> {
  return {
    director: directorId(document.director),
    cluster: document.cluster,
    interfaces: new Map(Object.entries(document.interfaces)),
    peerPort: document.peerPort ?? DEFAULT_PEER_PORT,
    metrics: { realServers: document.metrics?.realServers ?? DEFAULT_METRIC_REAL_SERVERS },
    stateDir: document.stateDir ?? DEFAULT_STATE_DIR,
    exit: document.exit ?? 'release',
    log: { level: document.log?.level ?? 'info' },
    identity: document.identity ?? null,
  };
}

function listenOf(document: AgentDocument): { readonly host: string; readonly port: number } {
  const listen = parseListen(document.api?.listen ?? DEFAULT_LISTEN);
  assert(listen !== null, 'an unusable listen address passed the rules');
  return listen;
}

async function readEtcdTls(tls: Raw, files: SecretFiles): Promise<TlsMaterial | null> {
  if (tls.value === undefined) return null;
  const ca = await files.certificate(at(tls, 'ca'));
  const cert = await files.certificate(at(tls, 'cert'));
  const key = await files.privateKey(at(tls, 'key'));
  files.requirePair(at(tls, 'key'), cert, key);
  return { ca, cert, key };
}

async function readApiTls(
  tls: Raw,
  files: SecretFiles,
): Promise<{ readonly cert: string; readonly key: string } | null> {
  const cert = await files.certificate(at(tls, 'cert'));
  const key = await files.privateKey(at(tls, 'key'));
  files.requirePair(at(tls, 'key'), cert, key);
  return cert === null || key === null ? null : { cert, key };
}

function etcdProblems(etcd: Raw): readonly Problem[] {
  const problems: Problem[] = [];
  const endpoints = itemsOf(at(etcd, 'endpoints'));
  for (const endpoint of endpoints) {
    const text = textOf(endpoint);
    if (text !== null && !isEndpoint(text))
      problems.push({
        path: endpoint.path,
        message: `${JSON.stringify(text)} is no endpoint`,
        allowed: 'http://address:port or https://address:port',
      });
  }
  const schemes = new Set(endpoints.map((endpoint) => textOf(endpoint)?.split(':')[0]));
  if (schemes.has('http') && schemes.has('https'))
    problems.push({
      path: at(etcd, 'endpoints').path,
      message: 'mixes http and https',
      allowed: 'all http, or all https',
    });
  const tls = at(etcd, 'tls');
  if (tls.value !== undefined && schemes.has('http'))
    problems.push({
      path: tls.path,
      message: 'is given, but an endpoint is http',
      allowed: 'https endpoints, or no tls',
    });
  return [
    ...problems,
    ...pairProblems(at(tls, 'cert'), at(tls, 'key')),
    ...pairProblems(at(etcd, 'user'), at(etcd, 'passwordFile')),
  ];
}

/** Two settings that mean nothing without each other. */
function pairProblems(a: Raw, b: Raw): readonly Problem[] {
  if ((a.value === undefined) === (b.value === undefined)) return [];
  const [missing, given] = a.value === undefined ? [a, b] : [b, a];
  return [
    {
      path: missing.path,
      message: `is missing, but ${given.path} is given`,
      allowed: 'both or none',
    },
  ];
}

function isEndpoint(text: string): boolean {
  if (!/^https?:\/\/[^/@?#\s]+:[0-9]{1,5}\/?$/.test(text)) return false;
  return URL.canParse(text);
}

function apiProblems(api: Raw): readonly Problem[] {
  const place = at(api, 'listen');
  const text = textOf(place) ?? DEFAULT_LISTEN;
  const listen = parseListen(text);
  if (listen === null)
    return [
      {
        path: place.path,
        message: `${JSON.stringify(text)} is no address to listen at`,
        allowed: '"address:port", e.g. "127.0.0.1:7480", "[::1]:7480", "0.0.0.0:7480"',
      },
    ];
  if (isLoopback(listen.host)) return [];
  const missing = ['tls', 'tokensFile'].filter((key) => at(api, key).value === undefined);
  if (missing.length === 0) return [];
  return [
    {
      path: place.path,
      message: `${text} can be reached from outside, but ${missing.map((key) => at(api, key).path).join(' and ')} ${missing.length === 1 ? 'is' : 'are'} missing: anybody could move VIPs`,
      allowed: 'a loopback address, or api.tls and api.tokensFile',
    },
  ];
}

/** `address:port` with IPv6 in brackets; the only name is localhost. */
function parseListen(text: string): { readonly host: string; readonly port: number } | null {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+)):([0-9]{1,5})$/.exec(text);
  const [, v6, v4, portText] = match ?? [];
  const port = Number(portText);
  const host = v6 ?? v4;
  if (host === undefined || !(port <= 65535)) return null;
  if (host === 'localhost') return { host, port };
  const address = parseIp(host);
  if (!address.ok || address.value.includes(':') !== (v6 !== undefined)) return null;
  return { host: address.value, port };
}

const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || host.startsWith('127.');
