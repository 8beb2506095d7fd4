/** deploy/compose: services, addresses and files fit each other, and the files are what leasehold parses. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { type AgentConfig, parseAgentConfig } from '../../../src/config/agent-file.ts';
import { parseClusterText } from '../../../src/config/cluster-document.ts';
import { directorSpecProblems } from '../../../src/config/spec-on-director.ts';
import type { ClusterSpec } from '../../../src/model/cluster.ts';
import { withKeyFile } from './key-file.ts';

const FOLDER = fileURLToPath(new URL('../../../deploy/compose', import.meta.url));
const read = (file: string): string => readFileSync(join(FOLDER, file), 'utf8');

type Service = {
  readonly image: string;
  readonly build: { readonly context?: string; readonly dockerfile_inline?: string };
  readonly cap_add?: readonly string[];
  readonly restart: string;
  readonly init?: boolean;
  readonly stop_grace_period?: string;
  readonly secrets?: readonly string[];
  readonly depends_on?: readonly string[];
  readonly command?: readonly string[];
  readonly volumes: readonly string[];
  readonly networks: Readonly<Record<string, { readonly ipv4_address: string }>>;
};
type Compose = {
  readonly services: Readonly<Record<string, Service>>;
  readonly networks: Readonly<
    Record<
      string,
      { readonly driver: string; readonly ipam: { readonly config: readonly { subnet: string }[] } }
    >
  >;
  readonly volumes: Readonly<Record<string, unknown>>;
  readonly secrets: Readonly<Record<string, { readonly file: string }>>;
};

const compose = parse(read('compose.yaml'), { merge: true }) as Compose;
const { version } = JSON.parse(
  readFileSync(new URL('../../../package.json', import.meta.url), 'utf8'),
) as { version: string };
const DIRECTORS = ['d1', 'd2'] as const;
const ETCD = ['etcd1', 'etcd2', 'etcd3'] as const;
const serviceOf = (name: string): Service => {
  const service = compose.services[name];
  if (service === undefined) throw new Error(`no service ${name}`);
  return service;
};
const addressOf = (name: string): string => serviceOf(name).networks['lan']?.ipv4_address ?? '';

const agents = new Map<string, AgentConfig>();
let spec: ClusterSpec;

beforeAll(async () => {
  const cluster = parseClusterText(read('cluster.yaml'));
  if (!cluster.ok) throw new Error(JSON.stringify(cluster.error));
  expect(cluster.value.warnings).toEqual([]);
  ({ spec } = cluster.value);
  await withKeyFile(async (keyFile) => {
    for (const name of DIRECTORS) {
      const document = parse(read(`${name}/agent.yaml`)) as Record<string, unknown>;
      const parsed = await parseAgentConfig({ ...document, keyFile }, FOLDER);
      if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
      agents.set(name, parsed.value);
    }
  });
});

describe('compose.yaml', () => {
  it('has three etcd members and two directors, and nothing else', () => {
    expect(Object.keys(compose.services).toSorted()).toEqual([...DIRECTORS, ...ETCD]);
  });

  it('gives each an address of its own in the subnet of the one bridge', () => {
    expect(Object.keys(compose.networks)).toEqual(['lan']);
    const [config] = compose.networks['lan']?.ipam.config ?? [];
    expect(compose.networks['lan']?.driver).toBe('bridge');
    expect(config?.subnet).toBe('172.30.90.0/24');
    const addresses = [...DIRECTORS, ...ETCD].map(addressOf);
    expect(new Set(addresses).size).toBe(5);
    for (const address of addresses) expect(address).toMatch(/^172\.30\.90\.\d+$/);
  });

  it('publishes nothing on the host', () => {
    for (const [name, service] of Object.entries(compose.services)) {
      expect(service, name).not.toHaveProperty('ports');
      expect(service, name).not.toHaveProperty('privileged');
    }
  });

  it.each(DIRECTORS)('lets %s do what it needs, and no more', (name) => {
    const { image, cap_add, build, restart, init, stop_grace_period, depends_on } = serviceOf(name);
    expect(image).toBe(`leasehold:${version}`);
    expect(cap_add).toEqual(['NET_ADMIN', 'NET_RAW']);
    expect(existsSync(join(FOLDER, build.context ?? '', 'Dockerfile'))).toBe(true);
    expect(restart).toBe('always');
    // What checks and notify programs leave behind is reaped.
    expect(init).toBe(true);
    expect(stop_grace_period).toBe('10s');
    expect(depends_on).toEqual(ETCD);
  });

  it('mounts files that exist, and volumes that are declared', () => {
    for (const volume of Object.values(compose.services).flatMap((service) => service.volumes)) {
      const [source = '', target] = volume.split(':');
      expect(target, volume).toMatch(/^\//);
      if (source.startsWith('./')) expect(existsSync(join(FOLDER, source)), volume).toBe(true);
      else expect(Object.keys(compose.volumes), volume).toContain(source);
    }
  });

  it('takes the cluster key from a file that is made by the command it names, and never committed', () => {
    const file = compose.secrets['cluster-key']?.file.replace('./', '');
    expect(file).toBe('cluster.key');
    expect(read('.gitignore').split('\n')).toContain(file);
    expect(read('compose.yaml')).toContain(
      `(umask 077; openssl rand -hex 32 > deploy/compose/${file})`,
    );
    for (const name of DIRECTORS) {
      expect(serviceOf(name).secrets).toEqual(['cluster-key']);
      const { keyFile } = parse(read(`${name}/agent.yaml`)) as { keyFile: string };
      expect(keyFile).toBe('/run/secrets/cluster-key');
    }
  });
});

describe('the etcd members', () => {
  it.each(ETCD)('%s advertises its own address, which all members know', (name) => {
    const { command, build } = serviceOf(name);
    const address = addressOf(name);
    expect(command).toEqual([
      `--name=${name}`,
      '--listen-client-urls=http://0.0.0.0:2379',
      `--advertise-client-urls=http://${address}:2379`,
      `--listen-peer-urls=http://${address}:2380`,
      `--initial-advertise-peer-urls=http://${address}:2380`,
    ]);
    expect(build.dockerfile_inline).toContain(`${name}=http://${address}:2380`);
  });
});

describe('the files of the directors', () => {
  it.each(DIRECTORS)('%s is named, reaches all etcd members and maps the interface', (name) => {
    const agent = agents.get(name);
    expect(agent?.director).toBe(name);
    expect(agent?.etcd.endpoints).toEqual(ETCD.map((etcd) => `http://${addressOf(etcd)}:2379`));
    expect(agent === undefined ? null : directorSpecProblems(spec, agent)).toEqual([]);
  });

  it('are of one cluster', () => {
    expect(new Set([...agents.values()].map(({ cluster }) => cluster)).size).toBe(1);
  });

  it('agree with the cluster document on the addresses', () => {
    const inSpec = spec.directors.map(({ id, address }) => [id, address]);
    expect(inSpec).toEqual(DIRECTORS.map((name) => [name, addressOf(name)]));
    for (const group of spec.groups)
      for (const { address } of group.addresses) expect(address).toMatch(/^172\.30\.90\.2\d\d$/);
  });
});
