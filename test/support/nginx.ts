/** nginx of the distribution as a real server in a host of the lab: answers its own name. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Network } from './network.ts';
import { type Daemon, GiveUp, waitFor } from './processes.ts';

export interface RealServer {
  readonly host: string;
  readonly address: string;
  isRunning(): boolean;
  start(): Promise<void>;
  /** Ends nginx: its port refuses from now on. */
  stop(): Promise<void>;
  /** VIPs on `lo` that stay quiet to ARP, as LVS-DR wants it (arp_ignore 1, arp_announce 2). */
  acceptVips(vips: readonly string[]): Promise<void>;
  dropVips(vips: readonly string[]): Promise<void>;
}

/** A real server that is not started yet. The host must exist. */
export function createRealServer(network: Network, host: string, address: string): RealServer {
  const prefix = join(network.directory, `nginx-${host}`);
  let daemon: Daemon | null = null;
  return {
    host,
    address,
    isRunning: () => daemon?.isRunning() ?? false,
    async start() {
      mkdirSync(prefix, { recursive: true });
      writeFileSync(join(prefix, 'nginx.conf'), nginxConfiguration(prefix, { name: host }));
      const argv = ['nginx', '-p', prefix, '-c', join(prefix, 'nginx.conf')];
      const started = network.spawn(host, 'nginx', argv);
      daemon = started;
      await waitFor(`nginx of ${host} listens`, () => isListening(network, host, started), {
        timeoutMs: 10_000,
      });
    },
    async stop() {
      await daemon?.kill();
      daemon = null;
    },
    async acceptVips(vips) {
      await setArpQuiet(network, host, { ignore: 1, announce: 2 });
      for (const vip of vips) await network.execOk(host, vipCommand('replace', vip));
    },
    async dropVips(vips) {
      for (const vip of vips) await network.execOk(host, vipCommand('delete', vip));
      await setArpQuiet(network, host, { ignore: 0, announce: 0 });
    },
  };
}

function vipCommand(verb: 'replace' | 'delete', vip: string): readonly string[] {
  const bits = vip.includes(':') ? 128 : 32;
  const flags = verb === 'replace' && bits === 128 ? ['nodad'] : [];
  return ['ip', 'address', verb, `${vip}/${bits}`, 'dev', 'lo', ...flags];
}

async function setArpQuiet(
  network: Network,
  host: string,
  to: { readonly ignore: number; readonly announce: number },
): Promise<void> {
  const settings = ['all', 'lo', 'eth0'].flatMap((device) => [
    `net.ipv4.conf.${device}.arp_ignore=${to.ignore}`,
    `net.ipv4.conf.${device}.arp_announce=${to.announce}`,
  ]);
  await network.execOk(host, ['sysctl', '-q', '-w', ...settings]);
}

async function isListening(network: Network, host: string, daemon: Daemon): Promise<boolean> {
  if (!daemon.isRunning()) throw new GiveUp(`it ended: ${daemon.log()}`);
  const done = await network.exec(host, ['bash', '-c', 'exec 3<>/dev/tcp/127.0.0.1/80']);
  return done.code === 0;
}

export type NginxOptions = {
  /** What it answers. */
  readonly name: string;
  /** Default 80 alone. */
  readonly ports?: readonly number[];
  /** Bytes a second of each connection that fetches a file below `/slow/` of its directory. */
  readonly slowRate?: number;
};

/** nginx.conf of one that runs in the foreground with all it needs below `prefix`. */
export function nginxConfiguration(prefix: string, options: NginxOptions): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((kind) => `  ${kind}_temp_path ${prefix}/${kind};`)
    .join('\n');
  const listen = (options.ports ?? [80])
    .map((port) => `    listen ${port};\n    listen [::]:${port};`)
    .join('\n');
  const slow = `\n    location /slow/ { root ${prefix}; limit_rate ${options.slowRate}; }`;
  return `daemon off;
user root;
worker_processes 1;
pid ${prefix}/nginx.pid;
error_log stderr notice;
events { worker_connections 512; }
http {
  access_log off;
${temporary}
  server {
${listen}
    default_type text/plain;
    location / { return 200 "${options.name}\\n"; }${options.slowRate === undefined ? '' : slow}
  }
}
`;
}
