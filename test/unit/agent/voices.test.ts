/** What is announced ends with its group: nothing is told of a VIP that `stop` would not end. */
import { expect, it } from 'vitest';
import { createVoices } from '../../../src/agent/voices.ts';
import { groupId } from '../../../src/model/ids.ts';
import type { Announcement } from '../../../src/ports/announcer.ts';
import { ip } from '../core/desired/spec-builders.ts';

const WEB = groupId('web');
const FIRST = { device: 'eth0', address: ip('10.90.0.100') };
const SECOND = { device: 'eth0', address: ip('10.90.0.101') };

function setUp() {
  const calls: string[] = [];
  const call = (name: string) => (vips: readonly Announcement[]) => {
    if (vips.length > 0) calls.push(`${name} ${vips.map((one) => one.address).join()}`);
  };
  const seen = { calls, vips: [FIRST] as readonly Announcement[] };
  const voices = createVoices({
    announcer: {
      announce: call('announce'),
      repeat: call('repeat'),
      limit: call('limit'),
      stop: call('stop'),
    },
    announcements: () => seen.vips,
  });
  return { seen, voices };
}

it('defends a VIP that is announced', () => {
  const { seen, voices } = setUp();
  voices.announce([WEB]);
  voices.defend({ ...FIRST, group: WEB });
  voices.stop(WEB);
  expect(seen.calls).toEqual(['announce 10.90.0.100', 'announce 10.90.0.100', 'stop 10.90.0.100']);
});

it('does not speak as a VIP that the spec has just given the group, though somebody else does', () => {
  const { seen, voices } = setUp();
  voices.announce([WEB]);
  seen.vips = [FIRST, SECOND];
  voices.defend({ ...SECOND, group: WEB });
  expect(seen.calls).toEqual(['announce 10.90.0.100']);
});

it('does not speak for a group that has ended', () => {
  const { seen, voices } = setUp();
  voices.announce([WEB]);
  voices.stop(WEB);
  voices.defend({ ...FIRST, group: WEB });
  expect(seen.calls).toEqual(['announce 10.90.0.100', 'stop 10.90.0.100']);
});
