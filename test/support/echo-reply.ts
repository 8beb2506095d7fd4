/** What a raw socket hears when somebody answers an echo request over IPv4. */
import { type IpAddress, ipToBytes } from '../../src/model/address.ts';
import { internetChecksum } from '../../src/wire/checksum.ts';
import { type Echo, encodeEchoRequest } from '../../src/wire/icmp.ts';

/** The whole packet; options are no-operations (RFC 791 3.1), a multiple of 4. */
export function asEchoReply4(echo: Echo, optionLength = 0, from?: IpAddress): Uint8Array {
  const message = encodeEchoRequest(4, echo);
  message.set([0, 0, 0, 0]);
  new DataView(message.buffer).setUint16(2, internetChecksum([message]));
  const headerLength = 20 + optionLength;
  const packet = new Uint8Array(headerLength + message.length).fill(1, 20, headerLength);
  const view = new DataView(packet.buffer);
  packet[0] = 0x40 | (headerLength / 4);
  view.setUint16(2, packet.length);
  packet[8] = 64;
  packet[9] = 1;
  if (from !== undefined) packet.set(ipToBytes(from), 12);
  packet.set(message, headerLength);
  return packet;
}
