/** Links and gue ports: the bytes by the kernel's headers (if_link.h, fou.h). A rack test asks the kernel itself. */
import { describe, expect, it } from 'vitest';
import { fromHex, toHex } from '../../../src/lib/bytes.ts';
import {
  decodeGuePort,
  encodeAddGuePort,
  encodeDeleteGuePort,
  encodeGetGuePorts,
} from '../../../src/wire/fou.ts';
import { AttributeWriter } from '../../../src/wire/netlink.ts';
import {
  decodeHostLink,
  encodeCreateLink,
  encodeDeleteLink,
  encodeSwitchLink,
} from '../../../src/wire/rtnetlink-links.ts';

const hex = (text: string): Uint8Array => {
  const bytes = fromHex(text.replaceAll(' ', ''));
  if (bytes === null) throw new Error(`no hex: ${text}`);
  return bytes;
};
const text = (bytes: Uint8Array): string => toHex(bytes);

/** ifinfomsg of link 7 with these flags, then attributes. */
const link = (flags: number, write: (writer: AttributeWriter) => AttributeWriter): Uint8Array => {
  const header = new Uint8Array(16);
  new DataView(header.buffer).setUint32(4, 7, true);
  new DataView(header.buffer).setUint32(8, flags, true);
  return write(new AttributeWriter().raw(header)).finish();
};

describe('links', () => {
  it('are told by their flags, kind and inner protocol', () => {
    const body = link(0x81, (writer) =>
      writer.text(3, 'ip6tnl0').nested(18, (info) => {
        info.text(1, 'ip6tnl');
        info.nested(2, (data) => data.u8(9, 41));
      }),
    );
    expect(decodeHostLink(body)).toEqual({
      ok: true,
      value: {
        index: 7,
        name: 'ip6tnl0',
        kind: 'ip6tnl',
        isUp: true,
        isLoopback: false,
        hasArp: false,
        innerProtocol: 41,
      },
    });
  });

  it('speak ARP unless they are loopbacks or say no', () => {
    const hasArp = (flags: number): boolean | null => {
      const decoded = decodeHostLink(link(flags, (writer) => writer.text(3, 'x')));
      return decoded.ok ? (decoded.value?.hasArp ?? null) : null;
    };
    expect([hasArp(0x1), hasArp(0x9), hasArp(0x81)]).toEqual([true, false, false]);
  });

  it('tell an inner protocol only where they are ip6tnl: numbers differ by kind', () => {
    const body = link(0x81, (writer) =>
      writer.text(3, 'gre0').nested(18, (info) => {
        info.text(1, 'gre');
        info.nested(2, (data) => data.u8(9, 41));
      }),
    );
    const decoded = decodeHostLink(body);
    expect(decoded.ok && decoded.value?.innerProtocol).toBe(null);
  });

  it('are refused where they are cut, and left out where they are a port of a bridge', () => {
    expect(decodeHostLink(new Uint8Array(15)).ok).toBe(false);
    const port = link(1, (writer) => writer.text(3, 'x'));
    port[0] = 7;
    expect(decodeHostLink(port)).toEqual({ ok: true, value: null });
  });

  it('are switched, made and removed', () => {
    const header = '00000000 07000000';
    expect(text(encodeSwitchLink(7, true))).toBe(text(hex(`${header} 01000000 01000000`)));
    expect(text(encodeSwitchLink(7, false))).toBe(text(hex(`${header} 00000000 01000000`)));
    expect(text(encodeDeleteLink(7))).toBe(text(hex(`${header} 00000000 00000000`)));
    // IFLA_IFNAME "tunl0", IFLA_LINKINFO { IFLA_INFO_KIND "ipip" }.
    expect(text(encodeCreateLink('tunl0', 'ipip'))).toBe(
      text(
        hex(
          `00000000 00000000 00000000 00000000 0a000300 74756e6c30000000 10001280 09000100 6970697000000000`,
        ),
      ),
    );
  });
});

describe('gue ports', () => {
  it('are opened, closed and asked for', () => {
    // FOU_ATTR_PORT in network order, FOU_ATTR_AF, FOU_ATTR_TYPE.
    const port = { port: 6080, family: 4 } as const;
    expect(text(encodeAddGuePort(port))).toBe(
      text(hex('01010000 06000100 17c00000 05000200 02000000 05000400 02000000')),
    );
    expect(text(encodeDeleteGuePort({ port: 6080, family: 6 }))).toBe(
      text(hex('02010000 06000100 17c00000 05000200 0a000000')),
    );
    expect(text(encodeGetGuePorts())).toBe('03010000');
  });

  it('are read, those of other kinds left out', () => {
    const dumped = (type: number) =>
      hex(`01010000 06000100 17c00000 05000200 0a000000 05000300 29000000 05000400 0${type}000000`);
    expect(decodeGuePort(dumped(2))).toEqual({ ok: true, value: { port: 6080, family: 6 } });
    expect(decodeGuePort(dumped(1))).toEqual({ ok: true, value: null });
    expect(decodeGuePort(hex('01010000 ff000100')).ok).toBe(false);
  });
});
