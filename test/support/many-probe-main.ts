/**
 * Runs in the client's namespace and watches hundreds of IPv4 VIPs at once: of each a who-has and an
 * echo in turn every 100 ms, and an echo at once when another MAC speaks for it. So the end of an
 * outage is seen to the millisecond, without hundreds of echoes each 5 ms.
 * Usage: many-probe-main.ts OPTIONS-AS-JSON; ends at SIGTERM and writes its record.
 */
import { writeFileSync } from 'node:fs';
import { ETHERTYPE, echoRequest, formatMac, parseIp, readEchoReply } from './frames.ts';
import { readVoice, whoHas } from './frames.ts';
import { startMachineMeter } from './machine-meter.ts';
import type { ManyProbeOptions, ManyRecord } from './many-probe.ts';
import { openPacketSocket } from './packet-socket.ts';
import { waitsOf } from './pauses.ts';
import { monotonicMs } from './processes.ts';
import { waitLooks } from './wait-meter.ts';

const PERIOD_MS = 100;
const RING_FIRST = 200;
const RING_SIZE = 50;
const ECHO_ID = 0x4c4d;
const CATCH_UP_MAX = 300;

const options = JSON.parse(process.argv[2] ?? '') as ManyProbeOptions;
const own = parseIp(options.ownAddress);
const arp = openPacketSocket(options.device, ETHERTYPE.arp);
const ip = openPacketSocket(options.device, ETHERTYPE.ip);
const vips = options.vips.map((vip) => parseIp(vip));
const indexOf = new Map(vips.map((vip, index) => [vip.readUInt32BE(), index]));
const neighbours: (Buffer | null)[] = vips.map(() => null);
/** MACs that answered the last question of each VIP. */
const answeredBy = vips.map(() => new Set<string>());
const questions = vips.map(() => 0);
const record = {
  turns: [] as { vip: number; mac: string; atMs: number }[],
  echoes: [] as { vip: number; atMs: number }[],
  doubleAnswers: 0,
};
let sequence = 0;

function echo(vip: number): void {
  const [to, destination] = [neighbours[vip], vips[vip]];
  if (to === null || to === undefined || destination === undefined) return;
  sequence += 1;
  ip.send(echoRequest({ to, mac: arp.mac, source: own, destination, id: ECHO_ID, sequence }));
}

function ask(vip: number): void {
  const target = vips[vip];
  if (target === undefined) return;
  const question = (questions[vip] ?? 0) + 1;
  questions[vip] = question;
  answeredBy[vip]?.clear();
  const sender = Buffer.from(own);
  sender[3] = RING_FIRST + (question % RING_SIZE);
  arp.send(whoHas(arp.mac, sender, target));
}

function onArp(frame: Buffer): void {
  const voice = readVoice(frame);
  if (voice === null || voice.mac.equals(arp.mac)) return;
  const vip = indexOf.get(voice.of.readUInt32BE());
  if (vip === undefined) return;
  const mac = formatMac(voice.mac);
  if (voice.to?.at(-1) === RING_FIRST + ((questions[vip] ?? 0) % RING_SIZE)) {
    const macs = answeredBy[vip]?.add(mac);
    if (macs?.size === 2) record.doubleAnswers += 1;
  }
  if (neighbours[vip]?.equals(voice.mac) === true) return;
  neighbours[vip] = Buffer.from(voice.mac);
  record.turns.push({ vip, mac, atMs: monotonicMs() });
  echo(vip);
}

function onIp(frame: Buffer): void {
  const vip = frame.length >= 34 ? indexOf.get(frame.readUInt32BE(26)) : undefined;
  const source = vip === undefined ? undefined : vips[vip];
  if (vip === undefined || source === undefined) return;
  if (readEchoReply(frame, source, ECHO_ID) !== null)
    record.echoes.push({ vip, atMs: monotonicMs() });
}

function drain(): void {
  arp.drain(onArp);
  ip.drain(onIp);
}

const meter = await startMachineMeter();
const agent = options.agent === null ? null : waitLooks(options.agent);
const startMs = monotonicMs();
let done = 0;
const timer = setInterval(() => {
  agent?.look();
  drain();
  // Each VIP in its turn, so that their probes are spread over the period.
  for (let burst = 0; burst < CATCH_UP_MAX; burst += 1) {
    if (startMs + (done * PERIOD_MS) / vips.length > monotonicMs()) break;
    ask(done % vips.length);
    echo(done % vips.length);
    done += 1;
  }
  drain();
  if (monotonicMs() - startMs > options.limitMs) finish();
}, 1);

function finish(): void {
  clearInterval(timer);
  setTimeout(() => {
    drain();
    const waits = waitsOf(agent?.looks ?? []);
    const seen: ManyRecord = { ...record, pauses: meter.pauses(), waits };
    writeFileSync(options.resultFile, JSON.stringify(seen));
    process.exit(0);
  }, 50);
}

process.on('SIGTERM', finish);
process.stdout.write('ready\n');
