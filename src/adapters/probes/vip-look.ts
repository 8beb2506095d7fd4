/** One look along a VIP's path: what it sends, what it makes of answers, and what comes of it. Has no timer of its own. */
import { ok, type Result } from '../../lib/result.ts';
import type { IpAddress, MacAddress } from '../../model/address.ts';
import type { VipCheck } from '../../model/check.ts';
import { judgePath, type VipEvidence, type VipVerdict } from './vip-verdict.ts';
import {
  encodeEchoPacket,
  encodeSegment,
  type Heard,
  TCP_ACK,
  TCP_RST,
  TCP_SYN,
} from '../../wire/vip-packets.ts';
import type { VipSender } from './vip-sender.ts';
import type { VipWay } from './vip-way.ts';

/** The real server takes it or drops it, and never gives it to another machine. */
const ONE_HOP = 1;

export type LookOf = {
  readonly address: IpAddress;
  readonly port: number;
  readonly vip: IpAddress;
  readonly ask: 'tcp' | 'echo';
  readonly spec: VipCheck;
  readonly way: VipWay;
  /** Of the way's device; 0: there is none. */
  readonly deviceIndex: number;
  /** Source port, and identifier of echoes. */
  readonly ownPort: number;
  /** 16 bits: sequence of the echoes, and the lower half of the segments'. */
  readonly number: number;
  /** 16 bits each, by chance. */
  readonly nonces: readonly [number, number];
};

export type LookSender = Pick<VipSender, 'toMac' | 'askFor' | 'intoTunnel'>;

export class VipLook {
  readonly of: LookOf;
  /** Null: not known yet, or not needed. */
  mac: MacAddress | null;
  readonly #sender: LookSender;
  readonly #sequence: number;
  readonly #ownSequence: number;
  #arp: VipEvidence['arp'] = 'unasked';
  #hasMac = false;
  #tcp: VipEvidence['tcp'] = 'nothing';
  #hasEcho = false;
  #hasAskedOwn = false;
  #hasOwnTcp = false;
  #hasOwnEcho = false;
  #error: VipEvidence['error'] = 'none';

  /** `mac`: what it was the last time. */
  constructor(of: LookOf, mac: MacAddress | null, sender: LookSender) {
    this.of = of;
    this.mac = mac;
    this.#sender = sender;
    this.#sequence = of.nonces[0] * 0x1_0000 + of.number;
    this.#ownSequence = of.nonces[1] * 0x1_0000 + of.number;
  }

  /** A segment may be answered still. */
  get owesReset(): boolean {
    const isOpen = this.#tcp === 'nothing' && (this.mac !== null || this.#isTunnel);
    return this.of.ask === 'tcp' && (isOpen || (this.#hasAskedOwn && !this.#hasOwnTcp));
  }

  get hasHeardMac(): boolean {
    return this.#hasMac;
  }

  begin(): Result<void, string> {
    return this.#isTunnel || this.mac !== null ? this.#question() : this.#askForMac();
  }

  /** Nothing decided yet: the question once more, and beside it what tells why there is no answer. */
  again(): Result<void, string> {
    if (!this.#hasMac) {
      const asked = this.#askForMac();
      if (!asked.ok) return asked;
    }
    if (!this.#isTunnel && this.mac === null) return ok(undefined);
    const { vip, address, ask } = this.of;
    this.#hasAskedOwn = this.#isOwnFamily && ask === 'tcp';
    const steps = [
      () => this.#question(),
      () => (ask === 'tcp' ? this.#echo(vip) : ok(undefined)),
      () => (this.#isOwnFamily ? this.#echo(address) : ok(undefined)),
      () =>
        this.#isOwnFamily && ask === 'tcp' ? this.#syn(address, this.#ownSequence) : ok(undefined),
    ];
    for (const step of steps) {
      const sent = step();
      if (!sent.ok) return sent;
    }
    return ok(undefined);
  }

  /** Somebody at `mac`, on the way's device, has `address`. */
  onMac(address: IpAddress, mac: MacAddress): void {
    // Frames to a group would reach the holder, too, and be answered by it.
    if (isGroupMac(mac)) return;
    if (address === this.of.vip) {
      if (this.#arp !== 'unasked' && mac === this.mac) this.#arp = 'answered';
      return;
    }
    if (address !== this.of.address) return;
    const isOther = this.mac !== mac;
    // Two machines or devices with one address would have it asked without end.
    if (isOther && this.#hasMac) return;
    this.#hasMac = true;
    this.mac = mac;
    if (isOther && !this.#isTunnel) this.#question();
    else if (this.#arp === 'asked') this.#arp = 'quiet';
  }

  /** False: it is a segment that answers none of this look's. */
  onHeard(heard: Heard): boolean {
    if (heard.kind === 'segment') return this.#onSegment(heard);
    if (heard.kind === 'error') this.#onError(heard);
    else if (heard.source === this.of.vip) this.#hasEcho = true;
    else if (heard.source === this.of.address) this.#hasOwnEcho = true;
    return true;
  }

  /** Null: nothing is decided yet, which is not said when `isOver`. */
  verdict(isOver: boolean): VipVerdict | null {
    const { ask } = this.of;
    return judgePath(
      {
        ask,
        arp: this.#arp,
        hasMac: this.#hasMac,
        tcp: this.#tcp,
        hasEcho: this.#hasEcho,
        isAlive: this.#hasOwnEcho || (ask === 'tcp' && this.#hasOwnTcp),
        error: this.#error,
      },
      isOver,
    );
  }

  /** Ends a connection that stands half open at who has `from`; `sequence` is what he waits for. */
  reset(
    from: IpAddress,
    segment: { readonly sourcePort: number; readonly acknowledgement: number },
  ): void {
    const { way, ownPort } = this.of;
    // What cannot be sent now is asked for again by who waits.
    this.#send(
      encodeSegment(
        { source: way.source, destination: from, hopLimit: ONE_HOP },
        {
          sourcePort: ownPort,
          destinationPort: segment.sourcePort,
          sequence: segment.acknowledgement,
          acknowledgement: 0,
          flags: TCP_RST,
        },
      ),
    );
  }

  /** Whether it may come from the real server that this look asks, at `sender`. */
  isFromTarget(
    { source, sourcePort }: Extract<Heard, { kind: 'segment' }>,
    sender: MacAddress,
  ): boolean {
    const { vip, address, port } = this.of;
    const isPlace = (source === vip || source === address) && sourcePort === port;
    return isPlace && (this.#isTunnel || this.mac === sender);
  }

  #onSegment(segment: Extract<Heard, { kind: 'segment' }>): boolean {
    const { vip, address, port } = this.of;
    const { source, flags } = segment;
    if (segment.sourcePort !== port || (flags & TCP_ACK) === 0) return false;
    const answered = (segment.acknowledgement - 1) >>> 0;
    const isReset = (flags & TCP_RST) !== 0;
    if (!isReset && (flags & TCP_SYN) === 0) return false;
    if (source === vip && answered === this.#sequence) this.#tcp = isReset ? 'refused' : 'accepted';
    else if (source === address && answered === this.#ownSequence) this.#hasOwnTcp = true;
    else return false;
    if (!isReset) this.reset(source, segment);
    return true;
  }

  #onError({ source, what, about }: Extract<Heard, { kind: 'error' }>): void {
    const { vip, address, ownPort, number } = this.of;
    const isTunnels = this.#isTunnel && about.destination === address && about.protocol === 'other';
    if (isTunnels && source === address && what !== 'expired') this.#error = 'no-tunnel';
    if (about.destination !== vip || about.port !== ownPort) return;
    const isMine =
      about.protocol === 'tcp' ? about.sequence === this.#sequence : about.sequence === number;
    // What is said about the echo beside a segment says nothing of the port.
    if (!isMine || (this.of.ask === 'tcp' && about.protocol === 'echo')) return;
    const isNew = this.#error === 'none';
    this.#error = what;
    if (isNew && what === 'expired' && this.of.ask === 'tcp') this.#echo(vip);
  }

  get #isTunnel(): boolean {
    return this.of.spec.tunnel !== null;
  }

  /** The address that packets carry is the VIP's sort. */
  get #isOwnFamily(): boolean {
    return this.of.address.includes(':') === this.of.vip.includes(':');
  }

  #askForMac(): Result<void, string> {
    const { way, address } = this.of;
    if (way.device === null || !this.#isOwnFamily) return ok(undefined);
    const ask = { source: way.source, target: address, of: null };
    const asked = this.#sender.askFor(way.device, ask);
    return asked.ok || !this.#isTunnel ? asked : ok(undefined);
  }

  /**
   * If it has the VIP is asked before what it surely answers: with that answer, the other one would be there. Both go to
   * it alone, so the holder's own answer cannot be mistaken for its. They also tell it where this director is: else one
   * with a wrong arp_announce would ask all for that in the VIP's name before it answers.
   */
  #question(): Result<void, string> {
    const { vip, address, ask, spec, way } = this.of;
    const { mac } = this;
    if (way.device !== null && mac !== null && this.#isOwnFamily) {
      const isArpJudged = spec.arp === 'fail';
      for (const target of isArpJudged ? [vip, address] : [address]) {
        const whom = { mac, address };
        const asked = this.#sender.askFor(way.device, { source: way.source, target, of: whom });
        if (!asked.ok && !this.#isTunnel) return asked;
      }
      if (isArpJudged && this.#arp === 'unasked') this.#arp = 'asked';
    }
    return ask === 'tcp' ? this.#syn(vip, this.#sequence) : this.#echo(vip);
  }

  #syn(destination: IpAddress, sequence: number): Result<void, string> {
    const { way, ownPort, port } = this.of;
    return this.#send(
      encodeSegment(
        { source: way.source, destination, hopLimit: ONE_HOP },
        {
          sourcePort: ownPort,
          destinationPort: port,
          sequence,
          acknowledgement: 0,
          flags: TCP_SYN,
        },
      ),
    );
  }

  #echo(destination: IpAddress): Result<void, string> {
    const { way, ownPort, number } = this.of;
    return this.#send(
      encodeEchoPacket(
        { source: way.source, destination, hopLimit: ONE_HOP },
        { identifier: ownPort, sequence: number },
      ),
    );
  }

  #send(packet: Uint8Array): Result<void, string> {
    const { spec, address, way } = this.of;
    if (spec.tunnel !== null) return this.#sender.intoTunnel(spec.tunnel, address, packet);
    if (way.device === null || this.mac === null) return ok(undefined);
    return this.#sender.toMac(way.device, this.mac, packet);
  }
}

const isGroupMac = (mac: MacAddress): boolean => (Number.parseInt(mac.slice(0, 2), 16) & 1) === 1;
