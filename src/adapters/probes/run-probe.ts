/** One probe of any kind of check. Runs in a probe worker, on its clock and sockets. */
import { hostname } from 'node:os';
import { assert } from '../../lib/assert.ts';
import type { Check } from '../../model/cluster.ts';
import type { Clock } from '../../ports/clock.ts';
import { startDatagram, type DatagramTalk } from './datagram-probe.ts';
import { type CompiledDns, compileDns, DnsTalk, encodeQuestion, judgeAnswer } from './dns-probe.ts';
import { EchoProbes } from './echo-probes.ts';
import { type CompiledExchange, compileExchange, ExchangeTalk } from './exchange-probe.ts';
import { FileProbes } from './file-probe.ts';
import { type CompiledRequest, compileHttp, startHttp } from './http-probe.ts';
import type { Outcome, RunningProbe } from './probe.ts';
import { originOf, ProbeSockets } from './probe-sockets.ts';
import { ScriptProbes } from './script-probes.ts';
import { SmtpTalk } from './smtp-probe.ts';
import { startStream, type StreamTools, type Talk } from './stream-probe.ts';
import { Trust } from './trust.ts';
import { compileUdp } from './udp-probe.ts';
import { VipProbes } from './vip-probes.ts';

export type ProbesWorld = {
  readonly clock: Clock;
  /** 16 random bits. */
  readonly random16: () => number;
};

/** What a check is made into once, not for every probe. */
type Compiled = {
  readonly exchange?: CompiledExchange;
  readonly http?: readonly CompiledRequest[];
  readonly dns?: CompiledDns;
  readonly udp?: DatagramTalk;
};

export class Probes {
  readonly #random16: () => number;
  readonly #tools: StreamTools;
  readonly #echoes: EchoProbes;
  readonly #vips: VipProbes;
  readonly #scripts: ScriptProbes;
  readonly #files = new FileProbes();
  readonly #compiled = new WeakMap<Check, Compiled>();
  readonly #hostName = hostname();

  constructor({ clock, random16 }: ProbesWorld) {
    const sockets = new ProbeSockets();
    this.#random16 = random16;
    this.#tools = { sockets, trust: new Trust(clock), wallMs: () => clock.wallMs() };
    this.#echoes = new EchoProbes({ clock, random16, libc: () => sockets.libc });
    this.#vips = new VipProbes({ clock, random16, libc: () => sockets.libc });
    this.#scripts = new ScriptProbes(clock);
  }

  /** Throws where a check cannot be made into a probe, which the document's rules exclude. */
  start(check: Check, done: (outcome: Outcome) => void): RunningProbe {
    const { spec, address, port } = check;
    const place = { address, port, origin: originOf(spec.origin) };
    const { timeoutMs } = spec;
    const stream = (talk: Talk, tls: Parameters<typeof startStream>[0]['tls']): RunningProbe =>
      startStream({ place, timeoutMs, tls, host: null }, talk, this.#tools, done);
    const datagram = (talk: DatagramTalk): RunningProbe =>
      startDatagram(place, timeoutMs, talk, this.#tools.sockets, done);
    const compiled = this.compile(check);
    switch (spec.kind) {
      case 'icmp':
        return this.#echoes.start(check, spec, done);
      case 'tcp':
        return stream(new ExchangeTalk(made(compiled.exchange)), null);
      case 'tls':
        return stream(new ExchangeTalk(made(compiled.exchange)), spec.tls);
      case 'http':
      case 'https':
        return startHttp(check, spec, made(compiled.http), this.#tools, done);
      case 'smtp':
        return stream(
          new SmtpTalk(spec, this.#hostName),
          spec.security === 'tls' ? spec.tls : null,
        );
      case 'dns': {
        const [dns, id] = [made(compiled.dns), this.#random16()];
        if (spec.transport === 'tcp') return stream(new DnsTalk(dns, id), null);
        return datagram({
          send: encodeQuestion(dns, id),
          judge: (bytes) => judgeAnswer(dns, id, bytes),
        });
      }
      case 'udp':
        return datagram(made(compiled.udp));
      case 'vip':
        return this.#vips.start(check, spec, done);
      case 'script':
        return this.#scripts.start(check, spec, done);
      case 'file':
        return this.#files.start(check, spec, done);
    }
  }

  /** Once for each check; throws as `start` does. */
  compile(check: Check): Compiled {
    const known = this.#compiled.get(check);
    if (known !== undefined) return known;
    const compiled = compile(check);
    this.#compiled.set(check, compiled);
    return compiled;
  }
}

function compile(check: Check): Compiled {
  const { spec } = check;
  switch (spec.kind) {
    case 'tcp':
    case 'tls':
      return { exchange: compileExchange(spec) };
    case 'http':
    case 'https':
      return { http: compileHttp(check, spec) };
    case 'dns':
      return { dns: compileDns(spec) };
    case 'udp':
      return { udp: compileUdp(spec) };
    case 'icmp':
    case 'vip':
    case 'smtp':
    case 'script':
    case 'file':
      return {};
  }
}

function made<T>(compiled: T | undefined): T {
  assert(compiled !== undefined, 'a check is compiled as its own kind');
  return compiled;
}
