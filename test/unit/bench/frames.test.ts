/** The frames of the lab's probes: what is sent can be read, and checksums are right. */
import { describe, expect, it } from 'vitest';
import {
  checksum,
  echoRequest,
  formatMac,
  neighbourSolicitation,
  parseIp,
  parseMac,
  readEchoReply,
  readVoice,
  whoHas,
} from '../../support/frames.ts';

const MAC = parseMac('02:00:00:00:00:01');
const OTHER = parseMac('02:00:00:00:00:02');

describe('addresses', () => {
  it.each([
    ['10.90.0.100', '0a5a0064'],
    ['fd90::100', 'fd900000000000000000000000000100'],
    ['fd90:0:0:1:2:3:4:5', 'fd90000000000001000200030004' + '0005'],
    ['::1', '00000000000000000000000000000001'],
  ])('%s is %s', (text, hex) => {
    expect(parseIp(text).toString('hex')).toBe(hex);
  });

  it('of hardware are read and written', () => {
    expect(formatMac(parseMac('02:ab:00:00:0c:01'))).toBe('02:ab:00:00:0c:01');
  });
});

describe('ARP', () => {
  it('asks by broadcast, and its own question is no answer', () => {
    const frame = whoHas(MAC, parseIp('10.90.0.200'), parseIp('10.90.0.100'));
    expect(frame.subarray(0, 6).toString('hex')).toBe('ffffffffffff');
    expect(readVoice(frame)?.to).toBeNull();
    expect(readVoice(frame)?.of.equals(parseIp('10.90.0.200'))).toBe(true);
  });

  it('an answer names the asker, a gratuitous one nobody, a probe no voice at all', () => {
    const answer = whoHas(OTHER, parseIp('10.90.0.100'), parseIp('10.90.0.200'));
    answer.writeUInt16BE(2, 20);
    expect(readVoice(answer)?.to?.equals(parseIp('10.90.0.200'))).toBe(true);
    const gratuitous = whoHas(OTHER, parseIp('10.90.0.100'), parseIp('10.90.0.100'));
    gratuitous.writeUInt16BE(2, 20);
    expect(readVoice(gratuitous)).toMatchObject({ to: null });
    expect(readVoice(whoHas(OTHER, parseIp('0.0.0.0'), parseIp('10.90.0.100')))).toBeNull();
  });
});

describe('neighbour discovery', () => {
  it('asks the solicited-node address with the right checksum', () => {
    const [from, to] = [parseIp('fd90::c8'), parseIp('fd90::1:2345')];
    const frame = neighbourSolicitation(MAC, from, to);
    expect(frame.subarray(0, 6).toString('hex')).toBe('3333ff012345');
    const icmp = frame.subarray(54);
    const length = Buffer.from([0, 0, 0, icmp.length, 0, 0, 0, 58]);
    expect(checksum(Buffer.concat([frame.subarray(22, 54), length, icmp]))).toBe(0);
    expect(readVoice(frame)).toBeNull();
  });

  it('an advertisement speaks for its target, to one or to all', () => {
    const [vip, asker] = [parseIp('fd90::100'), parseIp('fd90::c8')];
    const frame = neighbourSolicitation(OTHER, vip, vip);
    asker.copy(frame, 38);
    frame[54] = 136;
    frame[78] = 2;
    expect(readVoice(frame)?.of.equals(vip)).toBe(true);
    expect(readVoice(frame)?.to?.equals(asker)).toBe(true);
    frame[38] = 0xff;
    expect(readVoice(frame)?.to).toBeNull();
  });
});

describe('echoes', () => {
  it.each([
    ['10.90.0.1', '10.90.0.100', 34, 0],
    ['fd90::1', 'fd90::100', 54, 129],
  ])('from %s to %s come back with their number', (own, vip, at, reply) => {
    const [source, destination] = [parseIp(own), parseIp(vip)];
    const sequence = 0x12345678;
    const sent = echoRequest({ to: OTHER, mac: MAC, source, destination, id: 7, sequence });
    expect(readEchoReply(sent, source, 7)).toBeNull();
    sent[at] = reply;
    expect(readEchoReply(sent, source, 7)).toBe(sequence);
    expect(readEchoReply(sent, source, 8)).toBeNull();
    expect(readEchoReply(sent, destination, 7)).toBeNull();
  });
});
