/**
 * The inner protocol of an `ip6tnl` device. Netlink changes that of a fallback device (ip6tnl0) in new kernels
 * only; the ioctl does in all. Source: linux/if_tunnel.h, linux/ip6_tunnel.h, net/ipv6/ip6_tunnel.c.
 */
import koffi from 'koffi';
import { err, messageOf, ok, type Result } from '../../lib/result.ts';
import type { KernelError } from '../../model/kernel.ts';
import { kernelError } from './kernel-error.ts';
import { SOCK_CLOEXEC, SOCK_DGRAM } from '../raw-sockets/socket-numbers.ts';

const AF_INET6 = 10;
const SIOCGETTUNNEL = 0x89f0;
const SIOCCHGTUNNEL = 0x89f3;
/** struct ip6_tnl_parm: name, link, proto, encap_limit, hop_limit, flowinfo, flags, laddr, raddr. */
const PARM_BYTES = 64;
const NAME_BYTES = 16;
const PROTOCOL_OFFSET = 20;

/** Everything but the protocol stays as the kernel tells it. */
export function setInnerProtocol(device: string, protocol: number): Result<void, KernelError> {
  const what = `set the mode of ${device}`;
  try {
    const libc = koffi.load(null);
    const ifreq = koffi.struct({
      name: koffi.array('char', NAME_BYTES),
      data: 'void *',
      rest: koffi.array('uint8_t', 16),
    });
    const socket = libc.func('int socket(int domain, int type, int protocol)');
    const ioctl = libc.func('ioctl', 'int', ['int', 'unsigned long', koffi.pointer(ifreq)]);
    const close = libc.func('int close(int fd)');
    const fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0) as number;
    if (fd < 0) return err(kernelError(codeOf(koffi.errno()), what));
    try {
      const parm = Buffer.alloc(PARM_BYTES);
      parm.write(device, 0, NAME_BYTES - 1, 'latin1');
      const request = { name: device, data: parm, rest: Array<number>(16).fill(0) };
      for (const call of [SIOCGETTUNNEL, SIOCCHGTUNNEL]) {
        if ((ioctl(fd, call, request) as number) < 0)
          return err(kernelError(codeOf(koffi.errno()), what, 'ioctl of the tunnel'));
        parm[PROTOCOL_OFFSET] = protocol;
      }
      return ok(undefined);
    } finally {
      close(fd);
    }
  } catch (error) {
    return err(kernelError('UNAVAILABLE', what, messageOf(error)));
  }
}

const codeOf = (errno: number): string =>
  Object.entries(koffi.os.errno).find(([, value]) => value === errno)?.[0] ?? `E${errno}`;
