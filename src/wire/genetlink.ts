/** Generic netlink: the four-byte header and the question for a family's id. Source: linux/genetlink.h. */
import { err, ok, type Result } from '../lib/result.ts';
import { AttributeWriter, readText, readU16, walkAttributes } from './netlink.ts';

export const GENL_ID_CTRL = 0x10;
export const GENL_HEADER_BYTES = 4;

const CTRL_CMD_GETFAMILY = 3;
const CTRL_VERSION = 1;
const CTRL_ATTR_FAMILY_ID = 1;
const CTRL_ATTR_FAMILY_NAME = 2;

/** `genlmsghdr`: command, version, two reserved bytes. */
export const encodeGenericHeader = (command: number, version: number): Uint8Array =>
  Uint8Array.of(command, version, 0, 0);

/** Body of a request to GENL_ID_CTRL; the kernel answers ENOENT where there is no such family. */
export function encodeGetFamily(name: string): Uint8Array {
  return new AttributeWriter()
    .raw(encodeGenericHeader(CTRL_CMD_GETFAMILY, CTRL_VERSION))
    .text(CTRL_ATTR_FAMILY_NAME, name)
    .finish();
}

export type GenericFamily = { readonly id: number; readonly name: string };

export function decodeFamily(body: Uint8Array): Result<GenericFamily, string> {
  let id: number | null = null;
  let name = '';
  const isWhole = walkAttributes(body, GENL_HEADER_BYTES, body.length, (type, offset, length) => {
    if (type === CTRL_ATTR_FAMILY_ID && length >= 2) id = readU16(body, offset);
    else if (type === CTRL_ATTR_FAMILY_NAME) name = readText(body, offset, length);
  });
  if (!isWhole) return err('malformed attributes in a family');
  return id === null ? err('a family without an id') : ok({ id, name });
}
