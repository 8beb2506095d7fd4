/**
 * Numbers of the socket calls of libc, as this architecture's Linux has them. Sources: asm-generic/socket.h,
 * bits/socket_type.h, socket(7).
 */
export const AF_UNIX = 1;
export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_NONBLOCK = 0o4000;
export const SOCK_CLOEXEC = 0o2000000;
export const SOL_SOCKET = 1;
export const SO_BINDTODEVICE = 25;
export const SO_MARK = 36;
