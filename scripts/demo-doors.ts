/** Ways from this machine's loopback to the directors' APIs, for playing with the demo. */
import { spawn } from 'node:child_process';
import { createServer, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { CLIENT, type ClusterLab } from '../test/support/cluster-lab.ts';
import { API_PORT, type DirectorHost } from '../test/support/director-host.ts';

const DOOR_PORT = 17_480;
const forwardFile = fileURLToPath(new URL('./forward.mjs', import.meta.url));

export type Door = { readonly director: string; readonly url: string };

/** One loopback port for each director. They close with this process. */
export async function openDoors(lab: ClusterLab): Promise<readonly Door[]> {
  return await Promise.all(lab.directors.map((director) => openDoor(lab, director)));
}

async function openDoor(lab: ClusterLab, director: DirectorHost): Promise<Door> {
  const args = [director.address, DOOR_PORT, '127.0.0.1', API_PORT].join(' ');
  await director.execOk(
    `setsid ${process.execPath} ${forwardFile} ${args} </dev/null >/dev/null 2>&1 &`,
  );
  const pipe =
    `exec 3<>/dev/tcp/${director.address}/${DOOR_PORT} || exit 1; ` + 'cat <&3 & cat >&3; wait';
  const server = createServer((socket) => {
    join(socket, lab.network.wrap(CLIENT, ['bash', '-c', pipe]));
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const at = server.address();
  const port = typeof at === 'object' && at !== null ? at.port : 0;
  return { director: director.name, url: `http://127.0.0.1:${port}` };
}

function join(socket: Socket, argv: readonly string[]): void {
  const [command = '', ...rest] = argv;
  const child = spawn(command, rest, { stdio: ['pipe', 'pipe', 'ignore'] });
  socket.pipe(child.stdin);
  child.stdout.pipe(socket);
  child.stdin.on('error', () => socket.destroy());
  socket.on('error', () => child.kill());
  socket.on('close', () => child.kill());
}
