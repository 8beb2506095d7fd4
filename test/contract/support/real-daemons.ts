/** Real daemons on loopback for the checks: each from its Debian package, with a configuration of its own. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Certificates } from '../../support/certificates.ts';
import { ensurePackage } from '../../support/debian-package.ts';
import { type Daemon, GiveUp, runOk, startDaemon, waitFor } from '../../support/processes.ts';

const say = (text: string): void => void process.stderr.write(`${text}\n`);

export class RealDaemons {
  readonly directory = mkdtempSync(join(tmpdir(), 'leasehold-daemons-'));
  readonly #daemons: Daemon[] = [];

  constructor() {
    // Some of them become other users.
    chmodSync(this.directory, 0o755);
  }

  /** Plain and TLS, with virtual hosts, sizes and codes of every kind. */
  async nginx({ good, wrongName, expired }: Certificates): Promise<{ plain: number; tls: number }> {
    const [plain, tls] = [await freePort(), await freePort()];
    const root = this.#make('www');
    writeFileSync(join(root, 'page.shtml'), '<!--#echo var="host" --> page\n');
    writeFileSync(join(root, 'big'), Buffer.alloc(3_000_000, 'x'));
    const server = (name: string, certificate: { certFile: string; keyFile: string }): string => `
    server {
      listen 127.0.0.1:${plain}; listen [::1]:${plain};
      listen 127.0.0.1:${tls} ssl; listen [::1]:${tls} ssl;
      server_name ${name};
      ssl_certificate ${certificate.certFile};
      ssl_certificate_key ${certificate.keyFile};
      root ${root};
      default_type text/plain;
      location = /name { return 200 "${name}\\n"; }
      location = /agent { return 200 "$http_user_agent $http_x_probe $server_protocol\\n"; }
      location = /post { if ($request_method != POST) { return 405; } return 201 "$content_length"; }
      location = /gone { return 410; }
      location = /moved { return 302 /name; }
      location = /empty { return 204; }
      location = /page.shtml { ssi on; ssi_types *; }
    }`;
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
      .map((kind) => `${kind}_temp_path ${root}/${kind};`)
      .join(' ');
    const file = join(this.directory, 'nginx.conf');
    writeFileSync(
      file,
      `daemon off; user root; worker_processes 1; pid ${root}/nginx.pid; error_log stderr warn;
events { worker_connections 256; }
http { access_log off; ${temporary}
${server('www.example.org', good)}${server('other.example.org', wrongName)}${server('old.example.org', expired)}
}`,
    );
    await this.#start('nginx', ['nginx', '-p', this.directory, '-c', file], plain);
    return { plain, tls };
  }

  /** Exim with STARTTLS on one port, and with TLS from the beginning on another. */
  async exim({ good }: Certificates): Promise<{ plain: number; tls: number }> {
    await ensurePackage('exim4-daemon-light', say);
    const [plain, tls] = [await freePort(), await freePort()];
    const spool = this.#make('exim');
    // It is another user when it reads them.
    chmodSync(spool, 0o777);
    const [certificate, key] = [join(spool, 'cert.pem'), join(spool, 'key.pem')];
    writeFileSync(certificate, good.cert);
    writeFileSync(key, good.key);
    const file = join(this.directory, 'exim.conf');
    writeFileSync(
      file,
      `primary_hostname = mx.example.org
daemon_smtp_ports = ${plain} : ${tls}
tls_on_connect_ports = ${tls}
local_interfaces = 127.0.0.1
host_lookup =
rfc1413_query_timeout = 0s
tls_advertise_hosts = *
tls_certificate = ${certificate}
tls_privatekey = ${key}
spool_directory = ${spool}
log_file_path = ${spool}/%slog
pid_file_path = ${spool}/exim.pid
begin acl
`,
    );
    await this.#start('exim', ['exim4', '-C', file, '-bdf'], plain);
    return { plain, tls };
  }

  /** dnsmasq, which answers for lab.example and refuses the rest. */
  async dnsmasq(): Promise<number> {
    await ensurePackage('dnsmasq-base', say);
    const port = await freePort();
    const pid = join(this.directory, 'dnsmasq.pid');
    await this.#start(
      'dnsmasq',
      [
        'dnsmasq',
        ...'--keep-in-foreground --no-resolv --no-hosts --conf-file=/dev/null'.split(' '),
        ...`--port=${port} --listen-address=127.0.0.1,::1 --bind-interfaces --user=root`.split(' '),
        ...`--log-facility=- --pid-file=${pid} --local=/lab.example/`.split(' '),
        '--host-record=www.lab.example,192.0.2.1,2001:db8::1',
        '--mx-host=lab.example,mx.lab.example,10',
        '--txt-record=lab.example,v=spf1 -all',
        '--cname=ftp.lab.example,www.lab.example',
        '--srv-host=_sip._udp.lab.example,sip.lab.example,5060,1,2',
        '--ptr-record=1.2.0.192.in-addr.arpa,www.lab.example',
        ...Array.from(
          { length: 40 },
          (_, n) => `--txt-record=many.lab.example,${n}-${'x'.repeat(40)}`,
        ),
      ],
      port,
    );
    return port;
  }

  /** Redis with a password. */
  async redis(password: string, more: readonly string[] = []): Promise<number> {
    await ensurePackage('redis-server', say);
    const port = await freePort();
    const argv = ['redis-server', '--port', `${port}`, '--bind', '127.0.0.1', '--save', ''];
    await this.#start(
      'redis',
      [...argv, '--requirepass', password, '--dir', this.directory, ...more],
      port,
    );
    return port;
  }

  /** MariaDB with a user `leasehold` that has no rights. */
  async mariadb(): Promise<{ port: number; password: string }> {
    await ensurePackage('mariadb-server-core', say);
    await ensurePackage('mariadb-client-core', say);
    const [port, password] = [await freePort(), 's3cret'];
    const data = this.#make('mariadb');
    const common = ['--no-defaults', `--datadir=${data}`, '--user=root'];
    await runOk(['mariadb-install-db', ...common, '--skip-test-db'], { timeoutMs: 100_000 });
    const init = join(this.directory, 'init.sql');
    writeFileSync(init, `CREATE USER 'leasehold'@'%' IDENTIFIED BY '${password}';\n`);
    const argv = [
      'mariadbd',
      ...common,
      `--port=${port}`,
      '--bind-address=127.0.0.1',
      `--socket=${join(data, 'sock')}`,
      `--init-file=${init}`,
      '--skip-log-bin',
    ];
    await this.#start('mariadb', argv, port);
    return { port, password };
  }

  async close(): Promise<void> {
    for (const daemon of this.#daemons) await daemon.kill();
    rmSync(this.directory, { recursive: true, force: true });
  }

  #make(name: string): string {
    const path = join(this.directory, name);
    mkdirSync(path, { recursive: true });
    return path;
  }

  async #start(name: string, argv: readonly string[], port: number): Promise<void> {
    const logFile = join(this.directory, `${name}.log`);
    const daemon = startDaemon(argv, { name, logFile, cwd: this.directory });
    this.#daemons.push(daemon);
    await waitFor(`${name} listens`, () => listens(daemon, port), { timeoutMs: 60_000 });
  }
}

async function listens(daemon: Daemon, port: number): Promise<boolean> {
  if (!daemon.isRunning()) throw new GiveUp(`${daemon.name} ended: ${daemon.log()}`);
  return await new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(true));
    socket.once('error', () => resolve(false));
    socket.once('close', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

/** Of loopback, just now. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
