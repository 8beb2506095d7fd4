import { describe, expect, it } from 'vitest';
import { createPeers, type Peers } from '../../../src/agent/peers.ts';
import { ABSENT, directorId, revision } from '../../../src/model/ids.ts';
import type { SessionRecord } from '../../../src/model/records.ts';
import { D1, D2, sessionOf } from '../core/election/election-driver.ts';
import { specOf } from './vrrp-bench.ts';

const OLD = directorId('old');
const known = (fields: Partial<SessionRecord>) => ({
  rev: revision(7),
  asOf: revision(7),
  value: sessionOf(fields),
});
const told = (sessions: Parameters<Peers>[1]['sessions']): readonly string[] =>
  createPeers(D1)(specOf(), { sessions }).map(({ director, address }) => `${director} ${address}`);

describe('whom a director tells things', () => {
  const named = told(new Map());

  it('are the others that the document names', () => {
    expect(named).toContain('d2 10.90.0.12');
    expect(named.some((one) => one.startsWith('d1 '))).toBe(false);
    expect(createPeers(D1)(null, { sessions: new Map() })).toEqual([]);
  });

  it('and who goes on though it is named no more, at the address of its session', () => {
    expect(told(new Map([[OLD, known({ address: '10.90.0.99' })]]))).toEqual([
      ...named,
      'old 10.90.0.99',
    ]);
  });

  it('each once, where the document has it', () => {
    const moved = new Map([
      [D1, known({ address: '10.90.0.98' })],
      [D2, known({ address: '10.90.0.99' })],
    ]);
    expect(told(moved)).toEqual(named);
  });

  it('and who is dead by record, for it may not know that', () => {
    const sessions = new Map([[OLD, known({ address: '10.90.0.99', state: 'broken' })]]);
    const peers = createPeers(D1)(specOf(), { sessions });
    expect(peers.filter(({ isNamed }) => !isNamed).map(({ director }) => director)).toEqual([OLD]);
  });

  it('and whose session tells no address, where an earlier document had it', () => {
    const peers = createPeers(D1);
    const sessions = new Map([[D2, known({ address: '' })]]);
    expect(peers(null, { sessions })).toEqual([]);
    peers(specOf(), { sessions });
    expect(peers(null, { sessions })).toEqual([
      { director: D2, address: '10.90.0.12', isNamed: false },
    ]);
  });

  it('and nobody whose session is closed, is gone, or tells no address', () => {
    const ended = { rev: revision(7), asOf: revision(7), value: sessionOf({ state: 'closed' }) };
    const gone = { rev: ABSENT, asOf: revision(7), value: null };
    expect(told(new Map([[OLD, ended]]))).toEqual(named);
    expect(told(new Map([[OLD, gone]]))).toEqual(named);
    expect(told(new Map([[OLD, known({ address: 'nowhere' })]]))).toEqual(named);
  });
});
