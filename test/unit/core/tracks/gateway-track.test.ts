/** The gateway as a track: who is behind whom, and that a gateway lost for all moves nothing (design 4.7). */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  GATEWAY_LOST_BONUS,
  gatewayBonus,
  type GatewayTrack,
  NEW_GATEWAY_TRACK,
  stepGatewayTrack,
} from '../../../../src/core/tracks/gateway-track.ts';

/** `+` an answer, `-` none. */
const after = (text: string, from: GatewayTrack = NEW_GATEWAY_TRACK): GatewayTrack =>
  text === ''
    ? from
    : text.split('').reduce((track, sign) => stepGatewayTrack(track, sign === '+'), from);
const bonuses = (text: string) => {
  const track = after(text);
  return [gatewayBonus(track, 'candidate'), gatewayBonus(track, 'holder')].map(Number);
};
const LOST = GATEWAY_LOST_BONUS;
const ASKED_EVERY_MS = 1_000;

describe('the gateway', () => {
  it('takes away all that a priority can have', () => expect(LOST).toBe(-253));

  it.each([
    ['', [0, 0]],
    ['+', [0, 0]],
    // The first question decides for a candidate, and not for a holder.
    ['-', [LOST, 0]],
    ['+-', [0, 0]],
    ['+--', [LOST, 0]],
    ['+---', [LOST, 0]],
    ['+----', [LOST, LOST]],
    ['+----+', [LOST, 0]],
    ['+----++', [LOST, 0]],
    ['+----+++', [0, 0]],
    ['+--+-+-+-', [LOST, 0]],
    ['+-+-+-+-', [0, 0]],
    ['+----++-', [LOST, 0]],
  ])('after %j: %j for a candidate, and a holder', (text, expected) => {
    expect(bonuses(text)).toEqual(expected);
  });

  it('that goes and comes for all at the same time leaves no holder behind a candidate', () => {
    fc.assert(
      fc.property(
        // Faster than it is asked, one director may see it only there, and another one only gone.
        fc.array(fc.integer({ min: ASKED_EVERY_MS, max: 30_000 }), { minLength: 1, maxLength: 12 }),
        fc.nat(ASKED_EVERY_MS - 1),
        fc.nat(500),
        (lengths, offset, timeout) => {
          // The gateway is there in the even spans.
          const changes: number[] = [];
          for (const length of lengths) changes.push((changes.at(-1) ?? 10_000) + length);
          const isThere = (at: number): boolean =>
            changes.filter((each) => each <= at).length % 2 === 0;
          // Each asks once a second, from its own moment on; silence is known only at the timeout.
          const events = [0, offset].flatMap((start, who) =>
            Array.from({ length: 500 }, (_, n) => start + ASKED_EVERY_MS * n).map((at) => ({
              who,
              at: isThere(at) ? at : at + timeout,
              isAnswering: isThere(at),
            })),
          );
          const tracks = [NEW_GATEWAY_TRACK, NEW_GATEWAY_TRACK];
          for (const { who, isAnswering } of events.toSorted((a, b) => a.at - b.at)) {
            tracks[who] = stepGatewayTrack(tracks[who] ?? NEW_GATEWAY_TRACK, isAnswering);
            const [holder = NEW_GATEWAY_TRACK, candidate = NEW_GATEWAY_TRACK] = tracks;
            const isBehind = gatewayBonus(holder, 'holder') < gatewayBonus(candidate, 'candidate');
            expect(isBehind).toBe(false);
          }
        },
      ),
    );
  });
});
