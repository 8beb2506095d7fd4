/**
 * The part of the raw-socket package that is used here, loaded when it is first needed: it is compiled code
 * for one version of Node on the main thread, and without it everything but VRRP must go on.
 *
 * What it needs of its user: an `error` listener always (else its errors end the process); no throw from a
 * listener; no use after `close` (it would silently make a new socket without options); a copy of what it
 * delivers (it reuses the buffer); and a turn of the event loop after a delivery (promises that a listener
 * has resolved would wait for the next event).
 */
import { createRequire } from 'node:module';
import { err, messageOf, ok, type Result } from '../../lib/result.ts';

export interface RawSocket {
  on(event: 'message', listener: (bytes: Buffer, source: string) => void): this;
  on(event: 'error', listener: (error: Error) => void): this;
  setOption(level: number, option: number, value: number): void;
  setOption(level: number, option: number, value: Buffer, length: number): void;
  getOption(level: number, option: number, value: Buffer, length: number): number;
  send(
    buffer: Buffer,
    offset: number,
    length: number,
    address: string,
    /** Just before the system call; what it throws cancels that and is given to `after`. */
    before: () => void,
    after: (error: Error | null, bytes: number) => void,
  ): this;
  pauseRecv(): this;
  resumeRecv(): this;
  close(): this;
  /** Called when something can be read; by default it reads and emits `message`. */
  onRecvReady(): void;
}

type RawSocketOptions = {
  readonly addressFamily: number;
  readonly protocol: number;
  readonly bufferSize: number;
};

export type RawPackage = {
  readonly Socket: new (options: RawSocketOptions) => RawSocket;
  readonly AddressFamily: { readonly IPv4: number; readonly IPv6: number };
};

/** The error says why VRRP is not possible with this Node. */
export function loadRawPackage(): Result<RawPackage, string> {
  try {
    // A CommonJS package without types.
    return ok(createRequire(import.meta.url)('raw-socket') as RawPackage);
  } catch (error) {
    return err(`the raw-socket package cannot be loaded: ${messageOf(error)}`);
  }
}
