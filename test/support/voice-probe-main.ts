/**
 * Runs in the client's namespace and watches VIPs. Every 5 ms a who-has (or neighbour solicitation)
 * for each, from its own sender address out of a ring, so that an answer names its question: two
 * MACs for one question are two voices at one time. Beside that echoes, by one of two ways:
 * `neighbour`: with the who-has, to the MAC that spoke last, as a neighbour table would have it;
 * `kernel`: every millisecond, by the kernel's own neighbour table.
 * Usage: voice-probe-main.ts OPTIONS-AS-JSON; ends at SIGTERM and writes its records.
 */
import { writeFileSync } from 'node:fs';
import type { VoiceProbeOptions, VoiceRecord } from './client-probe.ts';
import {
  ETHERTYPE,
  echoRequest,
  formatMac,
  isIpv6,
  neighbourSolicitation,
  parseIp,
  readEchoReply,
  readVoice,
  whoHas,
} from './frames.ts';
import { startMachineMeter } from './machine-meter.ts';
import { waitMeter } from './wait-meter.ts';
import { type Bpf, openEchoSocket, openPacketSocket } from './packet-socket.ts';
import { joined, type Pause, PAUSE_MS } from './pauses.ts';
import { monotonicMs } from './processes.ts';

const PERIOD_MS = 5;
const KERNEL_PERIOD_MS = 1;
const RING_FIRST = 200;
const RING_SIZE = 50;
const ECHO_ID = 0x4c48;
const KERNEL_ID = 0x4c4b;
/** Answers may still be on their way when the probe ends. */
const LINGER_MS = 50;

/** Accepts ICMPv6 136 (advertisement), and 129 (echo reply) with our id; else nothing. */
const IPV6_FILTER: readonly Bpf[] = [
  [0x30, 0, 0, 54],
  [0x15, 3, 0, 136],
  [0x15, 0, 3, 129],
  [0x28, 0, 0, 58],
  [0x15, 0, 1, ECHO_ID],
  [0x06, 0, 0, 0xffff],
  [0x06, 0, 0, 0],
];
/** Accepts ICMP 0 (echo reply) with our id. */
const IPV4_FILTER: readonly Bpf[] = [
  [0x30, 0, 0, 23],
  [0x15, 0, 5, 1],
  [0x30, 0, 0, 34],
  [0x15, 0, 3, 0],
  [0x28, 0, 0, 38],
  [0x15, 0, 1, ECHO_ID],
  [0x06, 0, 0, 0xffff],
  [0x06, 0, 0, 0],
];

type Loop = {
  readonly record: Omit<VoiceRecord, 'pauses' | 'starved'>;
  readonly drain: () => void;
  readonly ask: () => void;
  readonly kernelEcho: () => void;
};

function watchVip(options: VoiceProbeOptions, target: VoiceProbeOptions['targets'][number]): Loop {
  const isV6 = isIpv6(target.vip);
  const [vip, own] = [parseIp(target.vip), parseIp(target.ownAddress)];
  const voices = isV6
    ? openPacketSocket(options.device, ETHERTYPE.ipv6, IPV6_FILTER)
    : openPacketSocket(options.device, ETHERTYPE.arp);
  const echoes = isV6 ? voices : openPacketSocket(options.device, ETHERTYPE.ip, IPV4_FILTER);
  const kernel = options.echo === 'kernel' ? openEchoSocket(target.vip, KERNEL_ID) : null;
  const record = {
    questions: [] as number[],
    answers: [] as { question: number; atMs: number; mac: string }[],
    announcements: [] as { atMs: number; mac: string }[],
    asked: [] as { sequence: number; atMs: number }[],
    echoes: [] as { sequence: number; atMs: number }[],
  };
  const questionOf = new Map<number, number>();
  let neighbour: Buffer | null = null;
  let count = 0;
  let kernelCount = 0;

  const onVoice = (frame: Buffer): void => {
    const voice = readVoice(frame);
    if (voice === null || !voice.of.equals(vip) || voice.mac.equals(voices.mac)) return;
    if (neighbour === null || !neighbour.equals(voice.mac)) neighbour = Buffer.from(voice.mac);
    const mac = formatMac(voice.mac);
    const atMs = monotonicMs();
    if (voice.to === null) {
      record.announcements.push({ atMs, mac });
      return;
    }
    const question = questionOf.get(voice.to.at(-1) ?? 0);
    if (question !== undefined) record.answers.push({ question, atMs, mac });
  };
  const onEcho = (frame: Buffer): void => {
    const sequence = readEchoReply(frame, vip, ECHO_ID);
    if (sequence !== null) record.echoes.push({ sequence, atMs: monotonicMs() });
  };
  return {
    record,
    drain() {
      if (isV6)
        voices.drain((frame) => {
          if (frame[54] === 136) onVoice(frame);
          else onEcho(frame);
        });
      else {
        voices.drain(onVoice);
        if (kernel === null) echoes.drain(onEcho);
      }
      kernel?.drain((sequence) => record.echoes.push({ sequence, atMs: monotonicMs() }));
    },
    ask() {
      const slot = RING_FIRST + (count % RING_SIZE);
      questionOf.set(slot, count);
      const sender = Buffer.from(own);
      sender[sender.length - 1] = slot;
      voices.send((isV6 ? neighbourSolicitation : whoHas)(voices.mac, sender, vip));
      record.questions.push(monotonicMs());
      if (kernel === null && neighbour !== null) {
        const route = { to: neighbour, mac: voices.mac, source: own, destination: vip };
        echoes.send(echoRequest({ ...route, id: ECHO_ID, sequence: count }));
        record.asked.push({ sequence: count, atMs: monotonicMs() });
      }
      count += 1;
    },
    kernelEcho() {
      if (kernel === null) return;
      kernel.send(kernelCount);
      record.asked.push({ sequence: kernelCount, atMs: monotonicMs() });
      kernelCount += 1;
    },
  };
}

/**
 * Calls `act` once for each period that is over since `startMs`: what a late timer makes up for at once, so that the
 * rate stays true. What was due in a pause is left out: a burst after it is no client's.
 */
function pacer(startMs: number, periodMs: number, act: () => void): () => void {
  let done = 0;
  return () => {
    const due = Math.floor((monotonicMs() - startMs) / periodMs) + 1;
    done = Math.max(done, due - Math.ceil(PAUSE_MS / periodMs));
    for (; done < due; done += 1) act();
  };
}

/** Notes when this process did not run for a while, each time that it is called. */
function pauseWatch(): { readonly look: () => void; readonly pauses: readonly Pause[] } {
  const pauses: Pause[] = [];
  let last = monotonicMs();
  return {
    pauses,
    look() {
      const now = monotonicMs();
      if (now - last >= PAUSE_MS) pauses.push({ fromMs: last, toMs: now });
      last = now;
    },
  };
}

async function main(options: VoiceProbeOptions): Promise<void> {
  const meter = await startMachineMeter();
  const loops = options.targets.map((target) => watchVip(options, target));
  const own = pauseWatch();
  const waits = waitMeter(options.agents);
  const startMs = monotonicMs();
  const paced = [
    pacer(startMs, PERIOD_MS, () => {
      for (const loop of loops) loop.ask();
    }),
    pacer(startMs, KERNEL_PERIOD_MS, () => {
      for (const loop of loops) loop.kernelEcho();
    }),
  ];
  const drain = (): void => {
    for (const loop of loops) loop.drain();
  };
  const finish = (): void => {
    clearInterval(timer);
    setTimeout(() => {
      drain();
      const pauses = joined([...own.pauses, ...meter.pauses()]);
      const records = loops.map(
        ({ record }): VoiceRecord => ({
          ...record,
          pauses,
          starved: joined(waits.starved),
        }),
      );
      writeFileSync(options.resultFile, JSON.stringify(records));
      process.exit(0);
    }, LINGER_MS);
  };
  const timer = setInterval(() => {
    own.look();
    waits.look();
    drain();
    for (const pace of paced) pace();
    drain();
    own.look();
    if (monotonicMs() - startMs > options.limitMs) finish();
  }, 1);
  process.on('SIGTERM', finish);
  process.stdout.write('ready\n');
}

await main(JSON.parse(process.argv[2] ?? '') as VoiceProbeOptions);
