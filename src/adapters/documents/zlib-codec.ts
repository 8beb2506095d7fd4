/**
 * The DocumentCodec port over zlib (RFC 1950). It packs and unpacks beside the thread, and parses and writes
 * long documents piece by piece.
 */
import { promisify } from 'node:util';
import { deflate, inflate } from 'node:zlib';
import { jsonPieces } from '../../lib/json-pieces.ts';
import { parseJsonSteps } from '../../lib/json-steps.ts';
import { err, messageOf, ok, type Result } from '../../lib/result.ts';
import { createPace, type Pace, runPaced } from '../../lib/steps.ts';
import { formatRecord, type SpecRecord } from '../../model/records.ts';
import type { Clock } from '../../ports/clock.ts';
import type { DocumentCodec } from '../../ports/document-codec.ts';

/** Longer ones are packed: short ones can be read with etcdctl. */
const PLAIN_BYTES_MAX = 262_144;
/** etcd takes requests up to 1.5 MiB (`--max-request-bytes`); the event of the change is in the same one. */
const VALUE_BYTES_MAX = 1_400_000;
/** What unpacks to more was not written by an agent. */
const DOCUMENT_BYTES_MAX = 64_000_000;

const pack = promisify<Buffer, Buffer>(deflate);
const unpack = promisify<Buffer, { maxOutputLength: number }, Buffer>(inflate);

export const createZlibCodec = ({ clock }: { readonly clock: Clock }): DocumentCodec => ({
  format: async ({ document, by, at }) => {
    const text = await runPaced(textSteps(document), paceOf(clock));
    const bytes = Buffer.from(text);
    if (bytes.length <= PLAIN_BYTES_MAX) return ok(formatRecord({ v: 1, document, by, at }));
    const packed = (await pack(bytes)).toString('base64');
    if (packed.length > VALUE_BYTES_MAX) return err(tooLarge(bytes.length, packed.length));
    return ok(formatRecord({ v: 2, packed, bytes: bytes.length, by, at }));
  },
  read: async (record) => (record.v === 1 ? ok(record.document) : readPacked(record, clock)),
});

const paceOf = (clock: Clock): Pace => createPace(clock);

function* textSteps(document: unknown): Generator<undefined, string> {
  const pieces: string[] = [];
  for (const piece of jsonPieces(document)) {
    pieces.push(piece);
    yield;
  }
  return pieces.join('');
}

async function readPacked(
  { packed, bytes }: Extract<SpecRecord, { v: 2 }>,
  clock: Clock,
): Promise<Result<unknown, string>> {
  try {
    const unpacked = await unpack(Buffer.from(packed, 'base64'), {
      maxOutputLength: DOCUMENT_BYTES_MAX,
    });
    if (unpacked.length !== bytes)
      return err(`the packed document has ${unpacked.length} bytes instead of ${bytes}`);
    return ok(await runPaced(parseJsonSteps(unpacked.toString()), paceOf(clock)));
  } catch (error) {
    return err(`the packed document cannot be read: ${messageOf(error)}`);
  }
}

const tooLarge = (bytes: number, packed: number): string =>
  `the document has ${bytes} bytes of JSON, and ${packed} when it is packed; the cluster store takes ` +
  `${VALUE_BYTES_MAX}. Services that differ in their address or port alone can be one: with ranges ` +
  '(addresses, ports), or with a firewall mark';
