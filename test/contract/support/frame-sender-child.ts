/** Sends Ethernet frames out of `eth0` of its network namespace: one a line, in hexadecimal; echoes `sent`. */
import { createInterface } from 'node:readline';
import { openPacketSocket } from '../../support/packet-socket.ts';

const socket = openPacketSocket('eth0');
process.stdout.write('ready\n');
for await (const line of createInterface({ input: process.stdin })) {
  const [hex = '', times = '1'] = line.split(' ');
  const frame = Buffer.from(hex, 'hex');
  for (let count = 0; count < Number(times); count++) socket.send(frame);
  process.stdout.write('sent\n');
}
