/** What people are told of stand-ins and refusals, beside what the election remembers. */
import { beforeEach, describe, expect, it } from 'vitest';
import { createStandInBook, type StandInBook } from '../../../src/agent/stand-in-book.ts';
import type { Asked, Right, RoundState } from '../../../src/core/election/state.ts';
import {
  type DirectorId,
  directorId,
  epochOf,
  type GroupId,
  groupId,
  monoMs,
  revision,
  sessionIdOf,
} from '../../../src/model/ids.ts';
import type { PeerMessage } from '../../../src/model/peer.ts';
import { FakeClock } from '../../fakes/fake-clock.ts';

const d2 = directorId('d2');
const d3 = directorId('d3');
const web = groupId('web');
const mail = groupId('mail');
const rev = revision(31);

const part = (right: Right, ...groups: readonly GroupId[]): Asked['parts'][number] => ({
  right,
  isApart: right === 'segment',
  isSpeaking: true,
  groups: groups.map((group) => ({ group, epoch: epochOf(rev), ownerRev: rev })),
});
/** A round that asked about what it holds by the record, and about a group that it stands for. */
const asked: Asked = {
  at: monoMs(1),
  nextAt: monoMs(2),
  needed: [d2, d3],
  everybody: [d2, d3],
  parts: [part('record', mail), part('segment', web)],
  promised: new Map(),
  refused: new Set(),
  relayed: new Set(),
  isGatewayThere: false,
};
const sent: RoundState & { readonly kind: 'sent' } = {
  kind: 'sent',
  round: 9,
  startedAt: monoMs(0),
  permitMs: 125,
  unanswered: 1,
  last: [],
  firstSentAt: monoMs(1),
  isConfirmed: false,
  isAnswered: false,
  isDenied: false,
  sessionRev: rev,
  guarded: new Map(),
  asked,
};
const refusal = (fields: Partial<PeerMessage & { kind: 'refusal' }> = {}): PeerMessage => ({
  kind: 'refusal',
  reason: 'candidate',
  session: sessionIdOf(rev),
  sessionRev: rev,
  round: 9,
  part: 1,
  ...fields,
});

let clock: FakeClock;
let book: StandInBook;
beforeEach(async () => {
  clock = new FakeClock();
  book = createStandInBook({ clock });
  await clock.advance(100);
});

describe('a refusal', () => {
  it('is remembered for the groups that its part asked about', () => {
    book.heard(d3, refusal(), sent);
    expect(book.refusalOf(web)).toEqual({ by: d3, reason: 'candidate', at: clock.now() });
    expect(book.refusalOf(mail)).toBeNull();
  });

  it.each([
    ['of an earlier round', refusal({ round: 8 }), sent],
    ['of an earlier life', refusal({ sessionRev: revision(30) }), sent],
    ['of what is held by the record', refusal({ part: 0 }), sent],
    ['of a part that there is not', refusal({ part: 2 }), sent],
    ['of a round that asked nobody', refusal(), { ...sent, asked: null }],
    [
      'when no round is under way',
      refusal(),
      { kind: 'idle', nextAt: monoMs(0), soonestAt: monoMs(0) },
    ],
    ['that is a promise', { ...refusal(), kind: 'promise' } as PeerMessage, sent],
  ] satisfies [string, PeerMessage, RoundState][])('%s counts for nothing', (_, message, round) => {
    book.heard(d3, message, round);
    expect(book.refusalOf(web)).toBeNull();
  });

  it('is forgotten with its group', () => {
    book.heard(d3, refusal(), sent);
    book.look([mail], { standInOf: () => null });
    expect(book.refusalOf(web)).toBeNull();
  });
});

describe('a stand-in', () => {
  const look = (director: DirectorId | null): void =>
    book.look([web, mail], { standInOf: (group) => (group === web ? director : null) });

  it('counts from the look that saw it first, and anew when it is another one', async () => {
    look(d3);
    const since = clock.now();
    await clock.advance(5000);
    look(d3);
    expect(book.sinceOf(web, d3)).toBe(since);
    expect(book.sinceOf(web, d2)).toBeNull();
    expect(book.sinceOf(mail, d3)).toBeNull();
    look(d2);
    expect(book.sinceOf(web, d2)).toBe(clock.now());
    look(null);
    expect(book.sinceOf(web, d2)).toBeNull();
  });
});
