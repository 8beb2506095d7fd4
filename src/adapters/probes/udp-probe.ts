/** UDP checks: a payload, and what comes back. */
import { fromHex } from '../../lib/bytes.ts';
import type { UdpCheck } from '../../model/check.ts';
import { quoteBytes } from '../../wire/answer-scan.ts';
import { type BytePattern, matchesPattern, parseBytePattern } from '../../lib/byte-pattern.ts';
import type { DatagramTalk } from './datagram-probe.ts';
import { down } from './failure-words.ts';
import type { Outcome } from './probe.ts';

/** Once for each check. */
export function compileUdp(spec: UdpCheck): DatagramTalk {
  const pattern = spec.reply === null ? null : parseBytePattern(spec.reply);
  if (pattern !== null && !pattern.ok) throw new Error(`the reply pattern ${pattern.error}`);
  const talk = {
    send: fromHex(spec.payload) ?? new Uint8Array(0),
    judge: (bytes: Uint8Array) => judge(spec, pattern?.value ?? null, bytes),
  };
  if (spec.requireReply) return talk;
  const silence = (timeoutMs: number): Outcome => ({
    kind: 'up',
    detail: `no ICMP error within ${timeoutMs} ms`,
  });
  return { ...talk, silence };
}

function judge(spec: UdpCheck, pattern: BytePattern | null, bytes: Uint8Array): Outcome {
  const { length } = bytes;
  if (length < spec.minLength || length > spec.maxLength)
    return down(
      'wrong-length',
      `a reply of ${length} bytes, wanted ${spec.minLength} to ${spec.maxLength}`,
    );
  if (pattern !== null && !matchesPattern(pattern, bytes))
    return down('no-match', `the reply is not what is expected: ${quoteBytes(bytes)}`);
  return { kind: 'up', detail: `a reply of ${length} bytes` };
}
