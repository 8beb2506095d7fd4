/** Questions and answers of the domain name system (RFC 1035), and its data as text. No sockets here. */
import { toHex } from '../lib/bytes.ts';
import { err, ok, type Result } from '../lib/result.ts';
import { formatIp } from '../model/address.ts';
import { DNS_RCODES, DNS_TYPES, type DnsType } from '../model/check.ts';

export type DnsQuestion = {
  /** 16 bits. */
  readonly id: number;
  /** With or without a dot at its end; `.` is the root. */
  readonly name: string;
  readonly type: DnsType;
  readonly recursion: boolean;
};

export type DnsRecord = {
  readonly name: string;
  /** The number where the type has no name here: `TYPE99`. */
  readonly type: string;
  readonly ttl: number;
  /** As zone files write it; without a dot at the end of names. */
  readonly data: string;
};

export type DnsAnswer = {
  readonly id: number;
  readonly isResponse: boolean;
  readonly isTruncated: boolean;
  readonly rcode: number;
  /** In lower case; null: the message has none, or several. */
  readonly question: { readonly name: string; readonly type: number } | null;
  readonly answers: readonly DnsRecord[];
};

const HEADER_LENGTH = 12;
const CLASS_IN = 1;
const LABEL_MAX = 63;
const NAME_MAX = 255;
/** Pointers of one name, and records of one message that are read. */
const JUMPS_MAX = 64;
const RECORDS_MAX = 1024;

/** The error is the rest of a sentence that begins with the name. */
export function encodeDnsName(name: string): Result<Uint8Array, string> {
  if (name === '.') return ok(Uint8Array.of(0));
  const labels = name.replace(/\.$/, '').split('.');
  const bytes: number[] = [];
  for (const label of labels) {
    const encoded = new TextEncoder().encode(label);
    if (encoded.length === 0) return err('has an empty label');
    if (encoded.length > LABEL_MAX) return err(`has a label longer than ${LABEL_MAX} bytes`);
    bytes.push(encoded.length, ...encoded);
  }
  bytes.push(0);
  return bytes.length > NAME_MAX
    ? err(`is longer than ${NAME_MAX} bytes`)
    : ok(Uint8Array.from(bytes));
}

export function encodeDnsQuery(question: DnsQuestion): Result<Uint8Array, string> {
  const name = encodeDnsName(question.name);
  if (!name.ok) return name;
  const query = new Uint8Array(HEADER_LENGTH + name.value.length + 4);
  const view = new DataView(query.buffer);
  view.setUint16(0, question.id);
  view.setUint16(2, question.recursion ? 0x0100 : 0);
  view.setUint16(4, 1);
  query.set(name.value, HEADER_LENGTH);
  view.setUint16(query.length - 4, DNS_TYPES[question.type]);
  view.setUint16(query.length - 2, CLASS_IN);
  return ok(query);
}

/** Header, question and answers; authority and additional records are not looked at. */
export function decodeDnsAnswer(bytes: Uint8Array): Result<DnsAnswer, string> {
  if (bytes.length < HEADER_LENGTH) return err(`a message of ${bytes.length} bytes`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const flags = view.getUint16(2);
  const [questions, records] = [view.getUint16(4), view.getUint16(6)];
  const head = {
    id: view.getUint16(0),
    isResponse: (flags & 0x8000) !== 0,
    isTruncated: (flags & 0x0200) !== 0,
    rcode: flags & 0xf,
  };
  let at = HEADER_LENGTH;
  let question: DnsAnswer['question'] = null;
  for (let i = 0; i < Math.min(questions, RECORDS_MAX); i++) {
    const name = readName(bytes, at);
    if (name === null || name.end + 4 > bytes.length) return err('the question is cut off');
    question =
      questions === 1 ? { name: name.text.toLowerCase(), type: view.getUint16(name.end) } : null;
    at = name.end + 4;
  }
  const answers: DnsRecord[] = [];
  for (let i = 0; i < Math.min(records, RECORDS_MAX); i++) {
    const record = readRecord(bytes, view, at);
    // What was left out of a truncated answer is no fault.
    if (record === null && head.isTruncated) break;
    if (record === null) return err('a record is cut off');
    answers.push(record.record);
    at = record.end;
  }
  return ok({ ...head, question, answers });
}

export function rcodeName(rcode: number): string {
  return Object.entries(DNS_RCODES).find(([, code]) => code === rcode)?.[0] ?? `RCODE${rcode}`;
}

type Read<T> = T & { readonly end: number };

function readName(bytes: Uint8Array, from: number): Read<{ readonly text: string }> | null {
  let [at, end] = [from, -1];
  let text = '';
  for (let jumps = 0; jumps <= JUMPS_MAX; ) {
    const length = bytes[at];
    if (length === undefined || text.length > 4 * NAME_MAX) return null;
    if (length === 0)
      return { text: text === '' ? '.' : text.slice(0, -1), end: end < 0 ? at + 1 : end };
    if ((length & 0xc0) === 0xc0) {
      const low = bytes[at + 1];
      if (low === undefined) return null;
      if (end < 0) end = at + 2;
      at = ((length & 0x3f) << 8) | low;
      jumps++;
      continue;
    }
    if (length > LABEL_MAX || at + 1 + length > bytes.length) return null;
    text += `${escapeLabel(bytes.subarray(at + 1, at + 1 + length))}.`;
    at += 1 + length;
  }
  return null;
}

/** RFC 1035 5.1, by byte: an answer may have a thousand names, all of what must be escaped. */
const LABEL_CHARACTERS: readonly string[] = Array.from({ length: 256 }, (_, byte) => {
  const char = String.fromCharCode(byte);
  if (byte <= 32 || byte >= 127) return `\\${byte.toString().padStart(3, '0')}`;
  return /[."\\;()@$]/.test(char) ? `\\${char}` : char;
});

function escapeLabel(label: Uint8Array): string {
  let text = '';
  for (const byte of label) text += LABEL_CHARACTERS[byte];
  return text;
}

function readRecord(
  bytes: Uint8Array,
  view: DataView,
  from: number,
): Read<{ readonly record: DnsRecord }> | null {
  const name = readName(bytes, from);
  if (name === null || name.end + 10 > bytes.length) return null;
  const type = view.getUint16(name.end);
  const ttl = view.getUint32(name.end + 4);
  const begin = name.end + 10;
  const end = begin + view.getUint16(name.end + 8);
  if (end > bytes.length) return null;
  const data = formatData(type, { bytes, view, begin, end }) ?? generic(bytes.subarray(begin, end));
  const record = { name: name.text.toLowerCase(), type: typeName(type), ttl, data };
  return { record, end };
}

const typeName = (type: number): string =>
  Object.entries(DNS_TYPES).find(([, code]) => code === type)?.[0] ?? `TYPE${type}`;

/** RFC 3597 5: of types whose form is not known, and of data that does not fit its type. */
const generic = (data: Uint8Array): string => `\\# ${data.length} ${toHex(data)}`.trim();

type Data = {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly begin: number;
  readonly end: number;
};

/** Null: not of this form. */
function formatData(type: number, data: Data): string | null {
  const { bytes, begin, end } = data;
  const length = end - begin;
  switch (type) {
    case DNS_TYPES.A:
      return length === 4 ? formatIp(bytes.subarray(begin, end)) : null;
    case DNS_TYPES.AAAA:
      return length === 16 ? formatIp(bytes.subarray(begin, end)) : null;
    case DNS_TYPES.NS:
    case DNS_TYPES.CNAME:
    case DNS_TYPES.PTR:
      return formatNames(data, 0, 1, 0);
    case DNS_TYPES.MX:
      return formatNames(data, 1, 1, 0);
    case DNS_TYPES.SRV:
      return formatNames(data, 3, 1, 0);
    case DNS_TYPES.SOA:
      return formatNames(data, 0, 2, 5);
    case DNS_TYPES.TXT:
      return formatStrings(bytes.subarray(begin, end));
    case DNS_TYPES.CAA:
      return formatCaa(bytes.subarray(begin, end));
    default:
      return null;
  }
}

/** Numbers of 16 bits, names, numbers of 32 bits: the form of most types. */
function formatNames(
  { bytes, view, begin, end }: Data,
  shorts: number,
  names: number,
  longs: number,
): string | null {
  const words: string[] = [];
  let at = begin;
  for (let i = 0; i < shorts; i++, at += 2) {
    if (at + 2 > end) return null;
    words.push(`${view.getUint16(at)}`);
  }
  for (let i = 0; i < names; i++) {
    const name = readName(bytes, at);
    if (name === null || name.end > end) return null;
    words.push(name.text);
    at = name.end;
  }
  for (let i = 0; i < longs; i++, at += 4) {
    if (at + 4 > end) return null;
    words.push(`${view.getUint32(at)}`);
  }
  return at === end ? words.join(' ') : null;
}

/** Several strings of one record follow each other without a gap, as mail servers read them (RFC 7208 3.3). */
function formatStrings(data: Uint8Array): string | null {
  let text = '';
  for (let at = 0; at < data.length; ) {
    const length = data[at] ?? 0;
    if (at + 1 + length > data.length) return null;
    text += printable(data.subarray(at + 1, at + 1 + length));
    at += 1 + length;
  }
  return text;
}

/** RFC 8659 4.1: `0 issue "ca.example"`. */
function formatCaa(data: Uint8Array): string | null {
  const [flags, length] = [data[0], data[1]];
  if (flags === undefined || length === undefined || 2 + length > data.length) return null;
  const [tag, value] = [data.subarray(2, 2 + length), data.subarray(2 + length)];
  return `${flags} ${printable(tag)} "${printable(value)}"`;
}

function printable(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes)
    text +=
      byte >= 32 && byte < 127
        ? String.fromCharCode(byte)
        : `\\${byte.toString().padStart(3, '0')}`;
  return text;
}
