/** Generic netlink `fou`: UDP ports where gue packets come in. Source: linux/fou.h. */
import { err, ok, type Result } from '../lib/result.ts';
import type { GuePort } from '../model/real-server-host.ts';
import { encodeGenericHeader, GENL_HEADER_BYTES } from './genetlink.ts';
import { AttributeWriter, readU16be, walkAttributes } from './netlink.ts';

export const FOU_FAMILY_NAME = 'fou';
const FOU_VERSION = 1;

const FOU_CMD_ADD = 1;
const FOU_CMD_DEL = 2;
const FOU_CMD_GET = 3;

const FOU_ATTR_PORT = 1;
const FOU_ATTR_AF = 2;
const FOU_ATTR_TYPE = 4;
const FOU_ENCAP_GUE = 2;

const AF_INET = 2;
const AF_INET6 = 10;

/** Body of a request that opens a gue port; EADDRINUSE or EALREADY where one is open. */
export const encodeAddGuePort = (port: GuePort): Uint8Array =>
  portBody(FOU_CMD_ADD, port).u8(FOU_ATTR_TYPE, FOU_ENCAP_GUE).finish();

/** Body of a request that closes a port; EINVAL where there is none. */
export const encodeDeleteGuePort = (port: GuePort): Uint8Array =>
  portBody(FOU_CMD_DEL, port).finish();

/** Body of a dump of all ports. */
export const encodeGetGuePorts = (): Uint8Array => encodeGenericHeader(FOU_CMD_GET, FOU_VERSION);

const portBody = (command: number, { port, family }: GuePort): AttributeWriter =>
  new AttributeWriter()
    .raw(encodeGenericHeader(command, FOU_VERSION))
    .u16be(FOU_ATTR_PORT, port)
    .u8(FOU_ATTR_AF, family === 4 ? AF_INET : AF_INET6);

/** Null: a port of another kind (`fou` itself). */
export function decodeGuePort(body: Uint8Array): Result<GuePort | null, string> {
  const seen = { port: 0, family: AF_INET, type: 0 };
  const isWhole = walkAttributes(body, GENL_HEADER_BYTES, body.length, (type, offset, length) => {
    if (type === FOU_ATTR_PORT && length >= 2) seen.port = readU16be(body, offset);
    else if (type === FOU_ATTR_AF && length >= 1) seen.family = body[offset] ?? 0;
    else if (type === FOU_ATTR_TYPE && length >= 1) seen.type = body[offset] ?? 0;
  });
  if (!isWhole) return err('malformed attributes in a fou port');
  if (seen.type !== FOU_ENCAP_GUE) return ok(null);
  return ok({ port: seen.port, family: seen.family === AF_INET6 ? 6 : 4 });
}
