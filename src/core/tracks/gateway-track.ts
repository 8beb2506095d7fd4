/**
 * The gateway as a track of the whole director (design 4.7): it orders the candidates, and forbids nothing. A
 * gateway that goes for all must move nothing. So a candidate believes in its loss before a holder does, and
 * in its return after: whatever the moments are at which each asks, a holder is not the only one without, unless the
 * gateway goes and comes within a second.
 */
import { HIGHEST_PRIORITY, LOWEST_PRIORITY } from '../placement/order.ts';

export type GatewayTrack = {
  /** Null: never asked. */
  readonly isAnswering: boolean | null;
  /** So many times in a row. */
  readonly times: number;
  readonly isLostAsCandidate: boolean;
  readonly isLostAsHolder: boolean;
};

/** Questions without answer in a row, one a second: a candidate needs fewer, the first one decides at once. */
export const CANDIDATE_FALL = 2;
export const HOLDER_FALL = 4;
/** Answers in a row. */
export const CANDIDATE_RISE = 3;
export const HOLDER_RISE = 1;
/** Behind everybody who has the gateway. */
export const GATEWAY_LOST_BONUS = LOWEST_PRIORITY - HIGHEST_PRIORITY;

export const NEW_GATEWAY_TRACK: GatewayTrack = {
  isAnswering: null,
  times: 0,
  isLostAsCandidate: false,
  isLostAsHolder: false,
};

export function stepGatewayTrack(track: GatewayTrack, isAnswering: boolean): GatewayTrack {
  const times = track.isAnswering === isAnswering ? track.times + 1 : 1;
  const { isLostAsCandidate, isLostAsHolder } = track;
  if (isAnswering)
    return {
      isAnswering,
      times,
      isLostAsCandidate: isLostAsCandidate && times < CANDIDATE_RISE,
      isLostAsHolder: isLostAsHolder && times < HOLDER_RISE,
    };
  return {
    isAnswering,
    times,
    isLostAsCandidate: isLostAsCandidate || track.isAnswering === null || times >= CANDIDATE_FALL,
    isLostAsHolder: isLostAsHolder || times >= HOLDER_FALL,
  };
}

/** Joins the director's priority for every group that it holds, or for every other one. */
export const gatewayBonus = (track: GatewayTrack, role: 'holder' | 'candidate'): number =>
  (role === 'holder' ? track.isLostAsHolder : track.isLostAsCandidate) ? GATEWAY_LOST_BONUS : 0;
