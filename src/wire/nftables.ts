/**
 * nftables over netlink: tables, sets, chains, rules and set elements, as messages of a batch and as
 * dumped. Pure bytes. Numbers are in network order here, other than everywhere else in netlink.
 * Sources: linux/netfilter/nf_tables.h, linux/netfilter/nfnetlink.h.
 */
import { err, ok, type Result } from '../lib/result.ts';
import { AttributeWriter, NLM_F_CREATE, readText, viewOf, walkAttributes } from './netlink.ts';
import { type NftExpression, writeExpressions } from './nft-expressions.ts';

/** NETLINK_NETFILTER */
export const NETLINK_NETFILTER = 12;

const NFNL_SUBSYS_NFTABLES = 10;
const NFNL_MSG_BATCH_BEGIN = 0x10;
const NFNL_MSG_BATCH_END = 0x11;
const NFGENMSG_BYTES = 4;
const NLM_F_APPEND = 0x0800;

const nftType = (message: number): number => (NFNL_SUBSYS_NFTABLES << 8) | message;
export const NFT_MSG_NEWTABLE = nftType(0);
export const NFT_MSG_GETTABLE = nftType(1);
export const NFT_MSG_DELTABLE = nftType(2);
export const NFT_MSG_NEWCHAIN = nftType(3);
export const NFT_MSG_GETCHAIN = nftType(4);
export const NFT_MSG_DELCHAIN = nftType(5);
export const NFT_MSG_NEWRULE = nftType(6);
export const NFT_MSG_GETRULE = nftType(7);
export const NFT_MSG_DELRULE = nftType(8);
export const NFT_MSG_NEWSET = nftType(9);
export const NFT_MSG_GETSET = nftType(10);
export const NFT_MSG_NEWSETELEM = nftType(12);
export const NFT_MSG_GETSETELEM = nftType(13);
export const NFT_MSG_DELSETELEM = nftType(14);
const NFT_MSG_NEWGEN = nftType(15);
export const NFT_MSG_GETGEN = nftType(16);
const NFT_MSG_TRACE = nftType(17);

/** NFPROTO_*: the family of a table. */
export const NFPROTO_INET = 1;
export const NFPROTO_ARP = 3;
export const NFPROTO_NETDEV = 5;
export const NFPROTO_BRIDGE = 7;

export const NFT_SET_TIMEOUT = 0x10;
/** A table whose chains see no packet. */
export const NFT_TABLE_F_DORMANT = 0x1;

/** Multicast group of all changes of nftables. */
export const NFNLGRP_NFTABLES = 7;

const NFTA_GEN_ID = 1;
const NFTA_TABLE_NAME = 1;
const NFTA_TABLE_FLAGS = 2;
const NFTA_SET_TABLE = 1;
const NFTA_SET_NAME = 2;
const NFTA_SET_FLAGS = 3;
const NFTA_SET_KEY_TYPE = 4;
const NFTA_SET_KEY_LEN = 5;
const NFTA_SET_ID = 10;
const NFTA_CHAIN_TABLE = 1;
const NFTA_CHAIN_NAME = 3;
const NFTA_CHAIN_HOOK = 4;
const NFTA_CHAIN_POLICY = 5;
const NFTA_CHAIN_TYPE = 7;
const NFTA_HOOK_HOOKNUM = 1;
const NFTA_HOOK_PRIORITY = 2;
const NFTA_HOOK_DEV = 3;
const NFTA_RULE_TABLE = 1;
const NFTA_RULE_CHAIN = 2;
const NFTA_RULE_EXPRESSIONS = 4;
const NFTA_RULE_USERDATA = 7;
const NFTA_SET_ELEM_LIST_TABLE = 1;
const NFTA_SET_ELEM_LIST_SET = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS = 3;
const NFTA_LIST_ELEM = 1;
const NFTA_SET_ELEM_KEY = 1;
const NFTA_SET_ELEM_TIMEOUT = 4;
const NFTA_SET_ELEM_EXPIRATION = 5;
const NFTA_DATA_VALUE = 1;
const NF_ACCEPT = 1;

/** Elements in one message: the list's length is 16 bits, an IPv6 element takes at most 44 bytes. */
const ELEMENTS_PER_MESSAGE = 1000;

/** One message of a batch. */
export type NftMessage = {
  readonly type: number;
  readonly flags: number;
  readonly body: Uint8Array;
};

export type NftTable = { readonly family: number; readonly table: string };

export type NftSet = {
  readonly name: string;
  /** Type of the key for people's tools (libnftnl datatypes: 7 ipv4_addr, 8 ipv6_addr, …). */
  readonly keyType: number;
  readonly keyLength: number;
  /** NFT_SET_* */
  readonly flags: number;
};

export type NftHook = {
  readonly hook: number;
  readonly priority: number;
  /** Family netdev only. */
  readonly device: string | null;
};

/** `hook` null: a chain that others jump to. */
export type NftChain = { readonly name: string; readonly hook: NftHook | null };

export type NftElement = {
  readonly key: Uint8Array;
  /** Null: it never expires. */
  readonly timeoutMs: number | null;
};

/** First and last message of a batch: the kernel takes all between them or nothing. */
export const BATCH_BEGIN: NftMessage = batchMark(NFNL_MSG_BATCH_BEGIN);
export const BATCH_END: NftMessage = batchMark(NFNL_MSG_BATCH_END);

/** A table that is there already stays as it is. */
export const newTable = (table: NftTable): NftMessage =>
  tableMessage(NFT_MSG_NEWTABLE, table, NLM_F_CREATE, (writer) => {
    writer.text(NFTA_TABLE_NAME, table.table);
  });

/** With all that is in it. */
export const deleteTable = (table: NftTable): NftMessage =>
  tableMessage(NFT_MSG_DELTABLE, table, 0, (writer) => {
    writer.text(NFTA_TABLE_NAME, table.table);
  });

/** `id` is any number that no other new set of the batch has. */
export const newSet = (table: NftTable, set: NftSet, id: number): NftMessage =>
  tableMessage(NFT_MSG_NEWSET, table, NLM_F_CREATE, (writer) => {
    writer
      .text(NFTA_SET_TABLE, table.table)
      .text(NFTA_SET_NAME, set.name)
      .u32be(NFTA_SET_FLAGS, set.flags)
      .u32be(NFTA_SET_KEY_TYPE, set.keyType)
      .u32be(NFTA_SET_KEY_LEN, set.keyLength)
      .u32be(NFTA_SET_ID, id);
  });

/** Packets that a base chain does not drop pass. */
export const newChain = (table: NftTable, chain: NftChain): NftMessage =>
  tableMessage(NFT_MSG_NEWCHAIN, table, NLM_F_CREATE, (writer) => {
    writer.text(NFTA_CHAIN_TABLE, table.table).text(NFTA_CHAIN_NAME, chain.name);
    const { hook } = chain;
    if (hook === null) return;
    writer.nested(NFTA_CHAIN_HOOK, (nested) => {
      nested.u32be(NFTA_HOOK_HOOKNUM, hook.hook).u32be(NFTA_HOOK_PRIORITY, hook.priority);
      if (hook.device !== null) nested.text(NFTA_HOOK_DEV, hook.device);
    });
    writer.u32be(NFTA_CHAIN_POLICY, NF_ACCEPT).text(NFTA_CHAIN_TYPE, 'filter');
  });

/** With its rules; nothing may jump to it. */
export const deleteChain = (table: NftTable, chain: string): NftMessage =>
  tableMessage(NFT_MSG_DELCHAIN, table, 0, (writer) => {
    writer.text(NFTA_CHAIN_TABLE, table.table).text(NFTA_CHAIN_NAME, chain);
  });

/** Appends a rule; `comment` is kept with it. */
export const newRule = (
  table: NftTable,
  rule: {
    readonly chain: string;
    readonly expressions: readonly NftExpression[];
    readonly comment: string;
  },
): NftMessage =>
  tableMessage(NFT_MSG_NEWRULE, table, NLM_F_CREATE | NLM_F_APPEND, (writer) => {
    writer.text(NFTA_RULE_TABLE, table.table).text(NFTA_RULE_CHAIN, rule.chain);
    writeExpressions(writer, NFTA_RULE_EXPRESSIONS, rule.expressions);
    writer.bytes(NFTA_RULE_USERDATA, encodeComment(rule.comment));
  });

/** All rules of a chain. */
export const deleteRules = (table: NftTable, chain: string): NftMessage =>
  tableMessage(NFT_MSG_DELRULE, table, 0, (writer) => {
    writer.text(NFTA_RULE_TABLE, table.table).text(NFTA_RULE_CHAIN, chain);
  });

/** Elements that are there already stay as they are, with the life they have. */
export const newElements = (
  table: NftTable,
  set: string,
  elements: readonly NftElement[],
): readonly NftMessage[] => elementMessages(NFT_MSG_NEWSETELEM, table, set, elements, NLM_F_CREATE);

/** One that is not there, or has expired, is ENOENT and fails the batch. */
export const deleteElements = (
  table: NftTable,
  set: string,
  keys: readonly Uint8Array[],
): readonly NftMessage[] =>
  elementMessages(
    NFT_MSG_DELSETELEM,
    table,
    set,
    keys.map((key) => ({ key, timeoutMs: null })),
    0,
  );

/** All elements of a set. */
export const flushSet = (table: NftTable, set: string): NftMessage =>
  tableMessage(NFT_MSG_DELSETELEM, table, 0, (writer) => {
    writer.text(NFTA_SET_ELEM_LIST_TABLE, table.table).text(NFTA_SET_ELEM_LIST_SET, set);
  });

/** Body of a dump of the tables of all families. */
export const encodeGenerationRequest = (): Uint8Array => new Uint8Array(NFGENMSG_BYTES);

export const encodeTablesDump = (): Uint8Array => new Uint8Array(NFGENMSG_BYTES);

/** Body of a dump of a table's sets, chains or rules; kernels give chains of other tables too. */
export const encodePartsDump = (table: NftTable): Uint8Array =>
  new AttributeWriter()
    .raw(Uint8Array.of(table.family, 0, 0, 0))
    // The name of the table is attribute 1 of sets, chains and rules alike.
    .text(NFTA_SET_TABLE, table.table)
    .finish();

export const encodeElementDump = (table: NftTable, set: string): Uint8Array =>
  new AttributeWriter()
    .raw(Uint8Array.of(table.family, 0, 0, 0))
    .text(NFTA_SET_ELEM_LIST_TABLE, table.table)
    .text(NFTA_SET_ELEM_LIST_SET, set)
    .finish();

function batchMark(type: number): NftMessage {
  return { type, flags: 0, body: Uint8Array.of(0, 0, 0, NFNL_SUBSYS_NFTABLES) };
}

/** A message about a table or a part of one; `write` adds the attributes. */
export function tableMessage(
  type: number,
  table: NftTable,
  flags: number,
  write: (writer: AttributeWriter) => void,
): NftMessage {
  const writer = new AttributeWriter().raw(Uint8Array.of(table.family, 0, 0, 0));
  write(writer);
  return { type, flags, body: writer.finish() };
}

function elementMessages(
  type: number,
  table: NftTable,
  set: string,
  elements: readonly NftElement[],
  flags: number,
): readonly NftMessage[] {
  const messages: NftMessage[] = [];
  for (let i = 0; i < elements.length; i += ELEMENTS_PER_MESSAGE) {
    const some = elements.slice(i, i + ELEMENTS_PER_MESSAGE);
    messages.push(
      tableMessage(type, table, flags, (writer) => {
        writer
          .text(NFTA_SET_ELEM_LIST_TABLE, table.table)
          .text(NFTA_SET_ELEM_LIST_SET, set)
          .nested(NFTA_SET_ELEM_LIST_ELEMENTS, (list) => {
            for (const element of some) writeElement(list, element);
          });
      }),
    );
  }
  return messages;
}

function writeElement(writer: AttributeWriter, element: NftElement): void {
  const { key, timeoutMs } = element;
  writer.nested(NFTA_LIST_ELEM, (nested) => {
    nested.nested(NFTA_SET_ELEM_KEY, (data) => data.bytes(NFTA_DATA_VALUE, key));
    if (timeoutMs !== null)
      nested.fill(NFTA_SET_ELEM_TIMEOUT, 8, (bytes, offset) => {
        viewOf(bytes).setBigUint64(offset, BigInt(Math.floor(timeoutMs)), false);
      });
  });
}

const UDATA_COMMENT = 0;

/** Comments of rules and elements: TLVs of nft(8) (libnftnl udata: type 0, length, text with NUL). */
export function encodeComment(comment: string): Uint8Array {
  const text = new TextEncoder().encode(comment);
  const bytes = new Uint8Array(text.length + 3);
  bytes[0] = UDATA_COMMENT;
  bytes[1] = text.length + 1;
  bytes.set(text, 2);
  return bytes;
}

/** Null: there is no comment. */
export function readComment(bytes: Uint8Array, offset: number, length: number): string | null {
  const end = offset + length;
  let at = offset;
  while (at + 2 <= end) {
    const size = bytes[at + 1] ?? 0;
    if (at + 2 + size > end) return null;
    if (bytes[at] === UDATA_COMMENT) return readText(bytes, at + 2, size);
    at += 2 + size;
  }
  return null;
}

/** Calls back for every attribute after the fixed header; the error says what is malformed. */
export function walkBody(
  body: Uint8Array,
  what: string,
  visit: (type: number, offset: number, length: number) => void,
): Result<void, string> {
  if (body.length < NFGENMSG_BYTES) return err(`${what} of ${body.length} bytes`);
  return walkAttributes(body, NFGENMSG_BYTES, body.length, visit)
    ? ok(undefined)
    : err(`${what} with malformed attributes`);
}

export const readU32be = (bytes: Uint8Array, offset: number): number =>
  offset + 4 <= bytes.length ? viewOf(bytes).getUint32(offset, false) : 0;

/** Body of NFT_MSG_NEWTABLE. */
export function decodeTable(body: Uint8Array): Result<NftTable, string> {
  let table = '';
  const walked = walkBody(body, 'table', (type, offset, length) => {
    if (type === NFTA_TABLE_NAME) table = readText(body, offset, length);
  });
  return walked.ok ? ok({ family: body[0] ?? 0, table }) : walked;
}

/** NFT_TABLE_F_* of NFT_MSG_NEWTABLE. */
export function decodeTableFlags(
  body: Uint8Array,
): Result<NftTable & { readonly flags: number }, string> {
  const table = decodeTable(body);
  if (!table.ok) return table;
  let flags = 0;
  walkBody(body, 'table', (type, offset) => {
    if (type === NFTA_TABLE_FLAGS) flags = readU32be(body, offset);
  });
  return ok({ ...table.value, flags });
}

/**
 * Body of NFT_MSG_NEWGEN: the generation of all rules of the namespace, which grows by one with each batch that
 * changes any; 0: it has none.
 */
export function decodeGeneration(body: Uint8Array): number {
  let generation = 0;
  walkBody(body, 'generation', (type, offset) => {
    if (type === NFTA_GEN_ID) generation = readU32be(body, offset);
  });
  return generation;
}

/** Does a notification of whatever kind concern the table or a part of it? */
export function isAboutTable(message: Pick<NftMessage, 'type' | 'body'>, of: NftTable): boolean {
  // Generations and traces have other things where all others have the name of their table.
  if (message.type === NFT_MSG_NEWGEN || message.type === NFT_MSG_TRACE) return false;
  if (message.type >> 8 !== NFNL_SUBSYS_NFTABLES) return false;
  const table = decodeTable(message.body);
  return table.ok && table.value.family === of.family && table.value.table === of.table;
}

/** Body of NFT_MSG_NEWSET. */
export function decodeSet(body: Uint8Array): Result<NftTable & NftSet, string> {
  const set = { table: '', name: '', keyType: 0, keyLength: 0, flags: 0 };
  const walked = walkBody(body, 'set', (type, offset, length) => {
    if (type === NFTA_SET_TABLE) set.table = readText(body, offset, length);
    else if (type === NFTA_SET_NAME) set.name = readText(body, offset, length);
    else if (type === NFTA_SET_FLAGS) set.flags = readU32be(body, offset);
    else if (type === NFTA_SET_KEY_TYPE) set.keyType = readU32be(body, offset);
    else if (type === NFTA_SET_KEY_LEN) set.keyLength = readU32be(body, offset);
  });
  return walked.ok ? ok({ family: body[0] ?? 0, ...set }) : walked;
}

/** Body of NFT_MSG_NEWCHAIN. A hook on several devices has their names joined by commas. */
export function decodeChain(body: Uint8Array): Result<NftTable & NftChain, string> {
  const chain: { table: string; name: string; hook: NftHook | null } = {
    table: '',
    name: '',
    hook: null,
  };
  const walked = walkBody(body, 'chain', (type, offset, length) => {
    if (type === NFTA_CHAIN_TABLE) chain.table = readText(body, offset, length);
    else if (type === NFTA_CHAIN_NAME) chain.name = readText(body, offset, length);
    else if (type === NFTA_CHAIN_HOOK) chain.hook = readHook(body, offset, length);
  });
  return walked.ok ? ok({ family: body[0] ?? 0, ...chain }) : walked;
}

/** As `decodeChain`, and whether the packets pass that no rule of a base chain drops. */
export function decodeChainPolicy(
  body: Uint8Array,
): Result<NftTable & NftChain & { readonly isAccepting: boolean }, string> {
  const chain = decodeChain(body);
  if (!chain.ok) return chain;
  let isAccepting = true;
  walkBody(body, 'chain', (type, offset) => {
    if (type === NFTA_CHAIN_POLICY) isAccepting = readU32be(body, offset) === NF_ACCEPT;
  });
  return ok({ ...chain.value, isAccepting });
}

const NFTA_HOOK_DEVS = 4;
const NFTA_DEVICE_NAME = 1;

function readHook(body: Uint8Array, start: number, length: number): NftHook {
  const hook: { hook: number; priority: number; device: string | null } = {
    hook: -1,
    priority: 0,
    device: null,
  };
  walkAttributes(body, start, start + length, (type, offset, size) => {
    if (type === NFTA_HOOK_HOOKNUM) hook.hook = readU32be(body, offset);
    else if (type === NFTA_HOOK_PRIORITY) hook.priority = readU32be(body, offset) | 0;
    else if (type === NFTA_HOOK_DEVS) {
      const names: string[] = [];
      walkAttributes(body, offset, offset + size, (inner, at, nameLength) => {
        if (inner === NFTA_DEVICE_NAME) names.push(readText(body, at, nameLength));
      });
      if (names.length > 0) hook.device = names.join(',');
    } else if (type === NFTA_HOOK_DEV) hook.device ??= readText(body, offset, size);
  });
  return hook;
}

/** Body of NFT_MSG_NEWRULE; of the rule itself only its comment. */
export function decodeRule(
  body: Uint8Array,
): Result<NftTable & { readonly chain: string; readonly comment: string | null }, string> {
  const rule: { table: string; chain: string; comment: string | null } = {
    table: '',
    chain: '',
    comment: null,
  };
  const walked = walkBody(body, 'rule', (type, offset, length) => {
    if (type === NFTA_RULE_TABLE) rule.table = readText(body, offset, length);
    else if (type === NFTA_RULE_CHAIN) rule.chain = readText(body, offset, length);
    else if (type === NFTA_RULE_USERDATA) rule.comment = readComment(body, offset, length);
  });
  return walked.ok ? ok({ family: body[0] ?? 0, ...rule }) : walked;
}

/** Body of NFT_MSG_NEWSETELEM: the keys in it. */
export function decodeElements(body: Uint8Array): Result<readonly Uint8Array[], string> {
  const elements = decodeExpiring(body);
  return elements.ok ? ok(elements.value.map(({ key }) => key)) : elements;
}

/** `expiresMs`: so long an element lives yet; null: it does not expire. */
export type NftLiving = { readonly key: Uint8Array; readonly expiresMs: number | null };

/** The same, with the time that each has left. */
export function decodeExpiring(body: Uint8Array): Result<readonly NftLiving[], string> {
  const elements: NftLiving[] = [];
  const walked = walkBody(body, 'elements', (type, offset, length) => {
    if (type !== NFTA_SET_ELEM_LIST_ELEMENTS) return;
    walkAttributes(body, offset, offset + length, (_, start, size) => {
      const element = readElement(body, start, size);
      if (element !== null) elements.push(element);
    });
  });
  return walked.ok ? ok(elements) : walked;
}

function readElement(body: Uint8Array, start: number, length: number): NftLiving | null {
  let key: Uint8Array | null = null;
  let expiresMs: number | null = null;
  walkAttributes(body, start, start + length, (type, offset, size) => {
    if (type === NFTA_SET_ELEM_EXPIRATION && size >= 8) expiresMs = readU64Be(body, offset);
    if (type !== NFTA_SET_ELEM_KEY) return;
    walkAttributes(body, offset, offset + size, (inner, at, valueLength) => {
      if (inner === NFTA_DATA_VALUE) key = body.slice(at, at + valueLength);
    });
  });
  return key === null ? null : { key, expiresMs };
}

const readU64Be = (bytes: Uint8Array, offset: number): number =>
  Number(new DataView(bytes.buffer, bytes.byteOffset + offset, 8).getBigUint64(0));
