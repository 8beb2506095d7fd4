/**
 * Runs in the client's namespace: every 5 ms one broadcast ARP who-has for the VIP and one ICMP echo
 * to the MAC a neighbour table would hold. Each who-has has its own sender address out of a ring, so
 * that an answer names its question: two MACs for one question are two voices at one time.
 * Usage: voice-probe-main.ts DEVICE VIP OWN-ADDRESS RESULT-FILE LIMIT-MS; ends at SIGTERM.
 */
import { writeFileSync } from 'node:fs';
import { monotonicMs } from './processes.ts';
import { checksum, formatMac, openPacketSocket, parseIpv4 } from './packet-socket.ts';
import type { VoiceRecord } from './client-probe.ts';

const PERIOD_MS = 5;
const RING_FIRST = 200;
const RING_SIZE = 50;
const ECHO_ID = 0x4c48;

const [device = '', vipText = '', ownText = '', resultFile = '', limitText = ''] =
  process.argv.slice(2);
const vip = parseIpv4(vipText);
const own = parseIpv4(ownText);
const socket = openPacketSocket(device);
const record: {
  -readonly [K in keyof VoiceRecord]: VoiceRecord[K] extends readonly (infer E)[]
    ? E[]
    : VoiceRecord[K];
} = { questions: [], answers: [], echoes: [], announcements: [] };
const questionOf = new Map<number, number>();
let neighbour: Uint8Array | null = null;
let sequence = 0;

function whoHas(): Buffer {
  const frame = Buffer.alloc(42);
  const slot = RING_FIRST + (sequence % RING_SIZE);
  questionOf.set(slot, sequence);
  frame.fill(0xff, 0, 6);
  socket.mac.copy(frame, 6);
  Buffer.from('08060001080006040001', 'hex').copy(frame, 12);
  socket.mac.copy(frame, 22);
  own.copy(frame, 28);
  frame[31] = slot;
  vip.copy(frame, 38);
  return frame;
}

function echoTo(mac: Uint8Array): Buffer {
  const icmp = Buffer.alloc(16);
  icmp[0] = 8;
  icmp.writeUInt16BE(ECHO_ID, 4);
  icmp.writeUInt16BE(sequence & 0xffff, 6);
  icmp.writeUInt32BE(sequence, 8);
  icmp.writeUInt16BE(checksum(icmp), 2);
  const ip = Buffer.alloc(20);
  ip[0] = 0x45;
  ip.writeUInt16BE(36, 2);
  ip[8] = 64;
  ip[9] = 1;
  own.copy(ip, 12);
  vip.copy(ip, 16);
  ip.writeUInt16BE(checksum(ip), 10);
  return Buffer.concat([mac, socket.mac, Buffer.from('0800', 'hex'), ip, icmp]);
}

function onFrame(frame: Buffer): void {
  const type = frame.readUInt16BE(12);
  if (type === 0x0806 && frame.length >= 42) onArp(frame);
  if (type === 0x0800 && frame.length >= 50) onIp(frame);
}

function onArp(frame: Buffer): void {
  const sender = frame.subarray(22, 28);
  if (!frame.subarray(28, 32).equals(vip) || sender.equals(socket.mac)) return;
  const mac = formatMac(sender);
  neighbour = Buffer.from(sender);
  const target = frame.subarray(38, 42);
  if (target.equals(vip)) {
    record.announcements.push({ atMs: monotonicMs(), mac });
    return;
  }
  const question = questionOf.get(target[3] ?? 0);
  if (frame.readUInt16BE(20) === 2 && question !== undefined)
    record.answers.push({ question, atMs: monotonicMs(), mac });
}

function onIp(frame: Buffer): void {
  const isReply = frame[23] === 1 && frame[34] === 0 && frame.readUInt16BE(38) === ECHO_ID;
  if (!isReply || !frame.subarray(26, 30).equals(vip)) return;
  record.echoes.push({
    sequence: frame.readUInt32BE(42),
    atMs: monotonicMs(),
    mac: formatMac(frame.subarray(6, 12)),
  });
}

function tick(): void {
  socket.send(whoHas());
  record.questions.push(monotonicMs());
  if (neighbour !== null) socket.send(echoTo(neighbour));
  sequence += 1;
}

const start = monotonicMs();
const timer = setInterval(() => {
  socket.drain(onFrame);
  // A late timer makes up for what it missed, so that the rate stays true.
  for (let count = 0; count < 20 && start + sequence * PERIOD_MS <= monotonicMs(); count += 1)
    tick();
  if (monotonicMs() - start > Number(limitText)) finish();
}, 1);

function finish(): void {
  clearInterval(timer);
  setTimeout(() => {
    socket.drain(onFrame);
    writeFileSync(resultFile, JSON.stringify(record));
    process.exit(0);
  }, 30);
}

process.on('SIGTERM', finish);
process.stdout.write('ready\n');
