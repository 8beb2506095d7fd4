/** Whether an answer is the one that a DNS check wants. */
import { describe, expect, it } from 'vitest';
import { compileDns, judgeAnswer } from '../../../../src/adapters/probes/dns-probe.ts';
import { concatBytes, fromHex } from '../../../../src/lib/bytes.ts';
import type { DnsCheck } from '../../../../src/model/check.ts';
import { encodeDnsQuery } from '../../../../src/wire/dns.ts';

const ID = 0x1234;
const check = (fields: Partial<DnsCheck>): DnsCheck => ({
  kind: 'dns',
  name: 'example.org',
  type: 'A',
  transport: 'udp',
  recursion: true,
  rcodes: ['NOERROR'],
  answers: [],
  match: null,
  ...fields,
});

/** NOERROR with one record of the question's name. */
function answerTo(spec: DnsCheck, type: string, data: string): Uint8Array {
  const query = encodeDnsQuery({ id: ID, name: spec.name, type: spec.type, recursion: true });
  if (!query.ok) throw new Error(query.error);
  const head = Uint8Array.from(query.value);
  head.set([0x81, 0x80, 0, 1, 0, 1], 2);
  const length = (data.length / 2).toString(16).padStart(4, '0');
  const record = fromHex(`c00c${type}00010000003c${length}${data}`);
  if (record === null) throw new Error('no digits');
  return concatBytes([head, record]);
}

const tell = (spec: DnsCheck, type: string, data: string): string | undefined => {
  const outcome = judgeAnswer(compileDns(spec), ID, answerTo(spec, type, data));
  return outcome === null ? undefined : outcome.detail;
};

describe('the data of records', () => {
  it.each<[DnsCheck['type'], string, string, string]>([
    ['AAAA', '2001:0DB8:0:0::1', '001c', '20010db8000000000000000000000001'],
    ['A', ' 192.0.2.1 ', '0001', 'c0000201'],
    ['MX', '10  MX.example.org.', '000f', '000a026d78c00c'],
    [
      'SOA',
      'ns.a. admin.a. 1 1 1 1 1',
      '0006',
      `026e730161000561646d696e016100${'00000001'.repeat(5)}`,
    ],
    ['MX', '0 .', '000f', '000000'],
    ['TXT', 'a  b.', '0010', '0561202062 2e'.replace(' ', '')],
  ])('%s is found in any form: %s', (type, wanted, code, data) => {
    expect(tell(check({ type, answers: [wanted] }), code, data)).toBe(
      'DNS answer NOERROR, 1 record',
    );
  });

  it('that is another is shown', () => {
    expect(tell(check({ answers: ['192.0.2.2'] }), '0001', 'c0000201')).toBe(
      'DNS answer has not 192.0.2.2: 192.0.2.1',
    );
  });
});

it('knows its own question again where the name has what zone files escape', () => {
  for (const name of ['a$b.example.org', 'A(1).example.org.', 'x@y', '.'])
    expect(tell(check({ name }), '0001', 'c0000201')).toBe('DNS answer NOERROR, 1 record');
});
