/**
 * Maps of nftables whose key has several fields, each of them a range, and whose data is a firewall mark.
 * Pure bytes. Needs Linux 5.6 (NFT_SET_CONCAT). Source: linux/netfilter/nf_tables.h.
 */
import { err, ok, type Result } from '../lib/result.ts';
import {
  type AttributeWriter,
  LITTLE_ENDIAN,
  NLM_F_CREATE,
  viewOf,
  walkAttributes,
} from './netlink.ts';
import {
  encodeComment,
  NFT_MSG_DELSETELEM,
  NFT_MSG_NEWSET,
  NFT_MSG_NEWSETELEM,
  type NftMessage,
  type NftTable,
  readComment,
  tableMessage,
  walkBody,
} from './nftables.ts';

const NFT_SET_INTERVAL = 0x4;
const NFT_SET_MAP = 0x8;
const NFT_SET_CONCAT = 0x80;
/** As the kernel shows them. */
export const MARK_MAP_FLAGS = NFT_SET_INTERVAL | NFT_SET_MAP | NFT_SET_CONCAT;

const NFTA_SET_TABLE = 1;
const NFTA_SET_NAME = 2;
const NFTA_SET_FLAGS = 3;
const NFTA_SET_KEY_TYPE = 4;
const NFTA_SET_KEY_LEN = 5;
const NFTA_SET_DATA_TYPE = 6;
const NFTA_SET_DATA_LEN = 7;
const NFTA_SET_DESC = 9;
const NFTA_SET_ID = 10;
const NFTA_SET_USERDATA = 13;
const NFTA_SET_DESC_CONCAT = 2;
const NFTA_SET_FIELD_LEN = 1;
const NFTA_LIST_ELEM = 1;
const NFTA_SET_ELEM_LIST_TABLE = 1;
const NFTA_SET_ELEM_LIST_SET = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS = 3;
const NFTA_SET_ELEM_KEY = 1;
const NFTA_SET_ELEM_DATA = 2;
const NFTA_SET_ELEM_USERDATA = 6;
const NFTA_SET_ELEM_KEY_END = 10;
const NFTA_DATA_VALUE = 1;

/** Datatypes of people's tools (libnftables); a concatenation has 6 bits for each. */
const TYPE_MARK = 19;
/** What people's tools keep beside a set (libnftnl udata). */
const UDATA_SET_DATABYTEORDER = 1;
const BYTEORDER_HOST_ENDIAN = 1;
const TYPE_BITS = 6;
const MARK_BYTES = 4;
const REGISTER_BYTES = 4;

/** Elements in one message: the list's length is 16 bits, an element takes at most 340 bytes. */
const ELEMENTS_PER_MESSAGE = 150;

/** A field of the key: its datatype and its length without padding. */
export type NftField = { readonly type: number; readonly bytes: number };

export type NftMarkMap = { readonly name: string; readonly fields: readonly NftField[] };

/** Values of the fields in network order; `to` is inclusive. */
export type NftMarkElement = {
  readonly from: readonly Uint8Array[];
  readonly to: readonly Uint8Array[];
  readonly mark: number;
  /** At most 253 bytes. */
  readonly comment: string;
};

const padded = (bytes: number): number => Math.ceil(bytes / REGISTER_BYTES) * REGISTER_BYTES;

export const keyLengthOf = ({ fields }: NftMarkMap): number =>
  fields.reduce((sum, { bytes }) => sum + padded(bytes), 0);

export const keyTypeOf = ({ fields }: NftMarkMap): number =>
  fields.reduce((joined, { type }) => (joined << TYPE_BITS) | type, 0);

/** `id` is any number that no other new set of the batch has. */
export const newMarkMap = (table: NftTable, map: NftMarkMap, id: number): NftMessage =>
  tableMessage(NFT_MSG_NEWSET, table, NLM_F_CREATE, (writer) => {
    writer
      .text(NFTA_SET_TABLE, table.table)
      .text(NFTA_SET_NAME, map.name)
      .u32be(NFTA_SET_FLAGS, MARK_MAP_FLAGS)
      .u32be(NFTA_SET_KEY_TYPE, keyTypeOf(map))
      .u32be(NFTA_SET_KEY_LEN, keyLengthOf(map))
      .u32be(NFTA_SET_DATA_TYPE, TYPE_MARK)
      .u32be(NFTA_SET_DATA_LEN, MARK_BYTES)
      .nested(NFTA_SET_DESC, (description) => {
        description.nested(NFTA_SET_DESC_CONCAT, (fields) => {
          for (const { bytes } of map.fields)
            fields.nested(NFTA_LIST_ELEM, (field) => field.u32be(NFTA_SET_FIELD_LEN, bytes));
        });
      })
      .u32be(NFTA_SET_ID, id)
      .bytes(NFTA_SET_USERDATA, encodeByteOrder());
  });

/** Tells nft(8) to show marks as numbers of this machine. */
function encodeByteOrder(): Uint8Array {
  const bytes = Uint8Array.of(UDATA_SET_DATABYTEORDER, 4, 0, 0, 0, 0);
  viewOf(bytes).setUint32(2, BYTEORDER_HOST_ENDIAN, LITTLE_ENDIAN);
  return bytes;
}

/** Elements that overlap fail the batch. */
export const newMarkElements = (
  table: NftTable,
  map: string,
  elements: readonly NftMarkElement[],
): readonly NftMessage[] => elementMessages(NFT_MSG_NEWSETELEM, table, map, elements);

/** One that is not there is ENOENT and fails the batch. */
export const deleteMarkElements = (
  table: NftTable,
  map: string,
  elements: readonly NftMarkElement[],
): readonly NftMessage[] => elementMessages(NFT_MSG_DELSETELEM, table, map, elements);

function elementMessages(
  type: number,
  table: NftTable,
  map: string,
  elements: readonly NftMarkElement[],
): readonly NftMessage[] {
  const isNew = type === NFT_MSG_NEWSETELEM;
  const messages: NftMessage[] = [];
  for (let i = 0; i < elements.length; i += ELEMENTS_PER_MESSAGE) {
    const some = elements.slice(i, i + ELEMENTS_PER_MESSAGE);
    messages.push(
      tableMessage(type, table, isNew ? NLM_F_CREATE : 0, (writer) => {
        writer
          .text(NFTA_SET_ELEM_LIST_TABLE, table.table)
          .text(NFTA_SET_ELEM_LIST_SET, map)
          .nested(NFTA_SET_ELEM_LIST_ELEMENTS, (list) => {
            for (const element of some)
              list.nested(NFTA_LIST_ELEM, (nested) => writeElement(nested, element, isNew));
          });
      }),
    );
  }
  return messages;
}

function writeElement(writer: AttributeWriter, element: NftMarkElement, isNew: boolean): void {
  const value =
    (bytes: Uint8Array) =>
    (data: AttributeWriter): void =>
      void data.bytes(NFTA_DATA_VALUE, bytes);
  const from = joinFields(element.from);
  const to = joinFields(element.to);
  const mark = new Uint8Array(MARK_BYTES);
  viewOf(mark).setUint32(0, element.mark, LITTLE_ENDIAN);
  writer
    .nested(NFTA_SET_ELEM_KEY, value(from))
    // Also where it is the same: without it nft(8) shows two neighbours as one range.
    .nested(NFTA_SET_ELEM_KEY_END, value(to));
  if (!isNew) return;
  writer
    .nested(NFTA_SET_ELEM_DATA, value(mark))
    .bytes(NFTA_SET_ELEM_USERDATA, encodeComment(element.comment));
}

function joinFields(fields: readonly Uint8Array[]): Uint8Array {
  const key = new Uint8Array(fields.reduce((sum, { length }) => sum + padded(length), 0));
  let offset = 0;
  for (const field of fields) {
    key.set(field, offset);
    offset += padded(field.length);
  }
  return key;
}

/** Body of NFT_MSG_NEWSETELEM; an element of another kind is null: not made by us. */
export function decodeMarkElements(
  body: Uint8Array,
  fields: readonly NftField[],
): Result<readonly (NftMarkElement | null)[], string> {
  const elements: (NftMarkElement | null)[] = [];
  let isSound = true;
  const walked = walkBody(body, 'elements', (type, offset, length) => {
    if (type !== NFTA_SET_ELEM_LIST_ELEMENTS) return;
    isSound = walkAttributes(body, offset, offset + length, (_, start, size) => {
      elements.push(readElement(body, start, size, fields));
    });
  });
  if (!walked.ok) return walked;
  return isSound ? ok(elements) : err('elements with malformed attributes');
}

function readElement(
  body: Uint8Array,
  start: number,
  length: number,
  fields: readonly NftField[],
): NftMarkElement | null {
  let from: readonly Uint8Array[] | null = null;
  let to: readonly Uint8Array[] | null = null;
  let mark: number | null = null;
  let comment: string | null = null;
  let isOurs = true;
  walkAttributes(body, start, start + length, (type, offset, size) => {
    if (type === NFTA_SET_ELEM_KEY) from = splitFields(readValue(body, offset, size), fields);
    else if (type === NFTA_SET_ELEM_KEY_END) {
      to = splitFields(readValue(body, offset, size), fields);
      isOurs &&= to !== null;
    } else if (type === NFTA_SET_ELEM_DATA) {
      const value = readValue(body, offset, size);
      if (value?.length === MARK_BYTES) mark = viewOf(value).getUint32(0, LITTLE_ENDIAN);
    } else if (type === NFTA_SET_ELEM_USERDATA) comment = readComment(body, offset, size);
  });
  if (!isOurs || from === null || mark === null || comment === null) return null;
  return { from, to: to ?? from, mark, comment };
}

function readValue(body: Uint8Array, start: number, length: number): Uint8Array | null {
  let value: Uint8Array | null = null;
  walkAttributes(body, start, start + length, (type, offset, size) => {
    if (type === NFTA_DATA_VALUE) value = body.slice(offset, offset + size);
  });
  return value;
}

function splitFields(
  key: Uint8Array | null,
  fields: readonly NftField[],
): readonly Uint8Array[] | null {
  if (key?.length !== fields.reduce((sum, { bytes }) => sum + padded(bytes), 0)) return null;
  const values: Uint8Array[] = [];
  let offset = 0;
  for (const { bytes } of fields) {
    values.push(key.slice(offset, offset + bytes));
    offset += padded(bytes);
  }
  return values;
}
