/**
 * What an nftables rule is made of: load a value into a register, the first one where none is named,
 * compare it or look it up, end with a verdict or a mark. Source: linux/netfilter/nf_tables.h.
 */
import type { AttributeWriter } from './netlink.ts';

/** NFT_META_*: facts of the packet that are not in its bytes. */
export const NFT_META_PROTOCOL = 1;
const NFT_META_MARK = 3;
export const NFT_META_IIF = 4;
export const NFT_META_OIF = 5;
export const NFT_META_NFPROTO = 15;
export const NFT_META_L4PROTO = 16;

/** NFT_PAYLOAD_*_HEADER: where an offset counts from. */
export const NFT_PAYLOAD_LL_HEADER = 0;
export const NFT_PAYLOAD_NETWORK_HEADER = 1;
export const NFT_PAYLOAD_TRANSPORT_HEADER = 2;

const NFT_REG_1 = 1;
const NFT_REG_VERDICT = 0;
/** NFT_REG32_00: the first four bytes of NFT_REG_1; the numbers go on from there. */
export const NFT_REG32_00 = 8;
const NFT_CMP_EQ = 0;
const NFT_LOOKUP_F_INV = 1;
const NF_DROP = 0;
const NFT_JUMP = -3;
const NFT_GOTO = -4;
const NFT_RETURN = -5;

const NFTA_LIST_ELEM = 1;
const NFTA_EXPR_NAME = 1;
const NFTA_EXPR_DATA = 2;
const NFTA_DATA_VALUE = 1;
const NFTA_DATA_VERDICT = 2;
const NFTA_VERDICT_CODE = 1;
const NFTA_VERDICT_CHAIN = 2;
const NFTA_META_DREG = 1;
const NFTA_META_KEY = 2;
const NFTA_META_SREG = 3;
const NFTA_PAYLOAD_DREG = 1;
const NFTA_PAYLOAD_BASE = 2;
const NFTA_PAYLOAD_OFFSET = 3;
const NFTA_PAYLOAD_LEN = 4;
const NFTA_CMP_SREG = 1;
const NFTA_CMP_OP = 2;
const NFTA_CMP_DATA = 3;
const NFTA_LOOKUP_SET = 1;
const NFTA_LOOKUP_SREG = 2;
const NFTA_LOOKUP_DREG = 3;
const NFTA_LOOKUP_FLAGS = 5;
const NFTA_IMMEDIATE_DREG = 1;
const NFTA_IMMEDIATE_DATA = 2;

export type NftExpression =
  | { readonly kind: 'meta'; readonly key: number; readonly register?: number }
  | {
      readonly kind: 'payload';
      readonly base: number;
      readonly offset: number;
      readonly length: number;
      readonly register?: number;
    }
  /** Goes on only if the loaded value is this one. */
  | { readonly kind: 'equals'; readonly value: Uint8Array }
  /** Goes on only if the loaded value is in the set, or is not. */
  | { readonly kind: 'in' | 'not-in'; readonly set: string }
  /** Goes on only if the map has what is loaded, with the map's data in its place. */
  | { readonly kind: 'map'; readonly map: string }
  /** The packet's firewall mark becomes what is loaded, all 32 bits. */
  | { readonly kind: 'set-mark' }
  | { readonly kind: 'drop' }
  /** Back to the chain that jumped here; from where nobody did, to the chain's policy. */
  | { readonly kind: 'return' }
  | { readonly kind: 'jump' | 'goto'; readonly chain: string };

/** The list of a rule's expressions, as the value of attribute `type`. */
export function writeExpressions(
  writer: AttributeWriter,
  type: number,
  expressions: readonly NftExpression[],
): void {
  writer.nested(type, (list) => {
    for (const expression of expressions)
      list.nested(NFTA_LIST_ELEM, (element) => {
        element.text(NFTA_EXPR_NAME, nameOf(expression));
        element.nested(NFTA_EXPR_DATA, (data) => writeData(data, expression));
      });
  });
}

function nameOf(expression: NftExpression): string {
  switch (expression.kind) {
    case 'meta':
    case 'payload':
      return expression.kind;
    case 'equals':
      return 'cmp';
    case 'in':
    case 'not-in':
    case 'map':
      return 'lookup';
    case 'set-mark':
      return 'meta';
    case 'drop':
    case 'return':
    case 'jump':
    case 'goto':
      return 'immediate';
  }
}

function writeData(writer: AttributeWriter, expression: NftExpression): void {
  switch (expression.kind) {
    case 'meta':
      writer
        .u32be(NFTA_META_KEY, expression.key)
        .u32be(NFTA_META_DREG, expression.register ?? NFT_REG_1);
      return;
    case 'payload':
      writer
        .u32be(NFTA_PAYLOAD_DREG, expression.register ?? NFT_REG_1)
        .u32be(NFTA_PAYLOAD_BASE, expression.base)
        .u32be(NFTA_PAYLOAD_OFFSET, expression.offset)
        .u32be(NFTA_PAYLOAD_LEN, expression.length);
      return;
    case 'equals':
      writer
        .u32be(NFTA_CMP_SREG, NFT_REG_1)
        .u32be(NFTA_CMP_OP, NFT_CMP_EQ)
        .nested(NFTA_CMP_DATA, (data) => data.bytes(NFTA_DATA_VALUE, expression.value));
      return;
    case 'in':
    case 'not-in':
      writer.text(NFTA_LOOKUP_SET, expression.set).u32be(NFTA_LOOKUP_SREG, NFT_REG_1);
      if (expression.kind === 'not-in') writer.u32be(NFTA_LOOKUP_FLAGS, NFT_LOOKUP_F_INV);
      return;
    case 'map':
      writer
        .text(NFTA_LOOKUP_SET, expression.map)
        .u32be(NFTA_LOOKUP_SREG, NFT_REG_1)
        .u32be(NFTA_LOOKUP_DREG, NFT_REG_1);
      return;
    case 'set-mark':
      writer.u32be(NFTA_META_KEY, NFT_META_MARK).u32be(NFTA_META_SREG, NFT_REG_1);
      return;
    case 'drop':
      writeVerdict(writer, NF_DROP, null);
      return;
    case 'return':
      writeVerdict(writer, NFT_RETURN, null);
      return;
    case 'jump':
      writeVerdict(writer, NFT_JUMP, expression.chain);
      return;
    case 'goto':
      writeVerdict(writer, NFT_GOTO, expression.chain);
  }
}

function writeVerdict(writer: AttributeWriter, code: number, chain: string | null): void {
  writer.u32be(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT).nested(NFTA_IMMEDIATE_DATA, (data) => {
    data.nested(NFTA_DATA_VERDICT, (verdict) => {
      verdict.u32be(NFTA_VERDICT_CODE, code);
      if (chain !== null) verdict.text(NFTA_VERDICT_CHAIN, chain);
    });
  });
}
