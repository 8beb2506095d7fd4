/** DNS checks over UDP and TCP: one question, and what its answer must have. */
import { parseIp } from '../../model/address.ts';
import { DNS_TYPES, type DnsCheck, type DnsType } from '../../model/check.ts';
import { compileMatcher, type ScanSource } from '../../wire/answer-scan.ts';
import { decodeDnsAnswer, type DnsAnswer, encodeDnsQuery, rcodeName } from '../../wire/dns.ts';
import { down, oneLine } from './failure-words.ts';
import type { Outcome } from './probe.ts';
import type { Line, Talk } from './stream-probe.ts';

export type CompiledDns = {
  readonly spec: DnsCheck;
  /** As answers name it: lower case, no dot at its end. */
  readonly name: string;
  readonly wanted: readonly string[];
  readonly match: ScanSource | null;
};

/** Once for each check; throws where the name is none. */
export function compileDns(spec: DnsCheck): CompiledDns {
  const match = spec.match === null ? null : compileMatcher(spec.match);
  if (match !== null && !match.ok) throw new Error(`the expected text ${match.error}`);
  const wanted = spec.answers.map((text) => canonicalData(spec.type, text));
  return { spec, name: readBack(spec), wanted, match: match?.value ?? null };
}

/** Answers are compared with the name as it is read from a message, where some characters are escaped. */
function readBack(spec: DnsCheck): string {
  const asked = decodeDnsAnswer(encodeQuestion({ spec }, 0));
  const name = asked.ok ? asked.value.question?.name : undefined;
  if (name === undefined) throw new Error(`the name ${spec.name} cannot be asked for`);
  return name;
}

/** Addresses in one form; names of records are the same with and without a dot at their end, and in any case. */
function canonicalData(type: DnsType, data: string): string {
  const text = data.trim().toLowerCase();
  if (type === 'TXT' || type === 'CAA') return text.replace(/\.$/, '');
  const address = type === 'A' || type === 'AAAA' ? parseIp(text) : null;
  if (address?.ok === true) return address.value;
  return text.replaceAll(/\s+/g, ' ').replaceAll(/(?<=[^\s])\.(?= |$)/g, '');
}

/** `id`: 16 random bits, so that nobody off the path can answer. */
export function encodeQuestion({ spec }: Pick<CompiledDns, 'spec'>, id: number): Uint8Array {
  const { name, type, recursion } = spec;
  const query = encodeDnsQuery({ id, name, type, recursion });
  if (!query.ok) throw new Error(`the name ${name} ${query.error}`);
  return query.value;
}

/** Null: not an answer to this question; a late one of another may come by UDP. */
export function judgeAnswer(compiled: CompiledDns, id: number, bytes: Uint8Array): Outcome | null {
  const { spec } = compiled;
  const decoded = decodeDnsAnswer(bytes);
  if (!decoded.ok) return down('not-this-protocol', `not a DNS answer: ${decoded.error}`);
  const { value: answer } = decoded;
  if (answer.id !== id || !answer.isResponse) return null;
  const { question } = answer;
  const isMine =
    question === null ||
    (question.name === compiled.name && question.type === DNS_TYPES[spec.type]);
  if (!isMine) return null;
  const rcode = rcodeName(answer.rcode);
  if (!spec.rcodes.some((wanted) => wanted === rcode))
    return down('wrong-status', `DNS answer ${rcode}, wanted ${spec.rcodes.join(', ')}`);
  return judgeRecords(compiled, answer, rcode);
}

function judgeRecords(
  { spec, wanted, match }: CompiledDns,
  answer: DnsAnswer,
  rcode: string,
): Outcome {
  const data = answer.answers.filter(({ type }) => type === spec.type).map((record) => record.data);
  const canonical = new Set(data.map((one) => canonicalData(spec.type, one)));
  const missing = wanted.findIndex((one) => !canonical.has(one));
  const hasMatch = match === null || data.some((one) => isMatching(match, one));
  if (missing < 0 && hasMatch)
    return { kind: 'up', detail: `DNS answer ${rcode}, ${count(data.length)}` };
  if (answer.isTruncated)
    return down('too-large', 'the DNS answer does not fit a datagram: ask by tcp');
  const shown = data.length === 0 ? 'no record' : oneLine(data.slice(0, 4).join(', '));
  const what = missing < 0 ? 'no record that matches' : `not ${spec.answers[missing]}`;
  return down('wrong-answer', `DNS answer has ${what}: ${shown}`);
}

const count = (records: number): string => (records === 1 ? '1 record' : `${records} records`);

function isMatching(source: ScanSource, text: string): boolean {
  const scan = source.start();
  return scan.feed(new TextEncoder().encode(text)) || scan.end();
}

const LENGTH_BYTES = 2;

/** Over TCP a message follows its length (RFC 1035 4.2.2). */
export class DnsTalk implements Talk {
  readonly #compiled: CompiledDns;
  readonly #id: number;
  #line: Line | null = null;
  #kept = Buffer.alloc(0);

  constructor(compiled: CompiledDns, id: number) {
    this.#compiled = compiled;
    this.#id = id;
  }

  onOpen(line: Line): void {
    this.#line = line;
    const query = encodeQuestion(this.#compiled, this.#id);
    const head = Buffer.alloc(LENGTH_BYTES);
    head.writeUInt16BE(query.length);
    line.write(Buffer.concat([head, query]));
  }

  onData(bytes: Buffer): void {
    this.#kept = Buffer.concat([this.#kept, bytes]);
    const wanted = this.#wanted();
    if (wanted === null || this.#kept.length < wanted) return;
    const message = this.#kept.subarray(LENGTH_BYTES, wanted);
    const outcome = judgeAnswer(this.#compiled, this.#id, message);
    this.#line?.finish(
      outcome ?? down('not-this-protocol', 'the DNS answer is to another question'),
    );
  }

  onEnd(): Outcome {
    return down(
      'closed-early',
      this.#kept.length === 0
        ? 'connection closed without an answer'
        : `connection closed after ${this.#kept.length} of ${this.#wanted() ?? LENGTH_BYTES} bytes`,
    );
  }

  awaited(): ReturnType<Talk['awaited']> {
    return this.#kept.length === 0
      ? { reason: 'timeout-first-byte', what: 'no answer' }
      : {
          reason: 'timeout-answer',
          what: `the DNS answer was not complete (${this.#kept.length} bytes)`,
        };
  }

  #wanted(): number | null {
    return this.#kept.length < LENGTH_BYTES ? null : LENGTH_BYTES + this.#kept.readUInt16BE();
  }
}
