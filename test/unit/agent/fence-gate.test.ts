/** The gate of kernel rules: silent unless a live permit says otherwise, whatever happens in between (design 4.4). */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { IpAddress } from '../../../src/model/address.ts';
import { monoMs } from '../../../src/model/ids.ts';
import type { GateGroup } from '../../../src/ports/gate.ts';
import { ip } from '../core/desired/spec-builders.ts';
import { A, ALIVE_MS, B, C, HOLD_MS, PERMIT_MS, setUp } from './fence-gate.fixture.ts';

describe('arming', () => {
  it('opens by one batch, until exactly F later, and tells so', async () => {
    const { open, g, speaks, clock, gate } = setUp();
    const armed = await open(g);
    expect(armed).toMatchObject({ value: { opened: ['g'], failed: [] } });
    expect(armed.ok && armed.value.speaksUntil - clock.now()).toBe(ALIVE_MS);
    await clock.advance(ALIVE_MS - 1);
    expect(speaks(A)).toBe(true);
    await clock.advance(1);
    expect(speaks(A)).toBe(false);
    expect(gate.kind).toBe('netdev');
  });

  it('never speaks after the send + D, whatever pauses there are', async () => {
    const pauses = fc.record({
      answer: fc.integer({ min: 0, max: 2 * HOLD_MS }),
      call: fc.integer({ min: 0, max: 2 * HOLD_MS }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(pauses, { minLength: 1, maxLength: 4 }), async (rounds) => {
        const { round, g, pause, clock, speaks } = setUp();
        for (const { answer, call } of rounds) {
          pause.before = async ({ permit }) => {
            if (permit !== null) await clock.advance(call);
          };
          const sentAt = clock.now();
          await round([{ ...g, mode: 'open' }], { tookMs: answer });
          const endAt = sentAt + HOLD_MS;
          await clock.advance(Math.max(0, endAt - clock.now()));
          expect(speaks(A)).toBe(false);
        }
      }),
      { numRuns: 60 },
    );
  });

  it('stopped between decision and system call for longer than the permit opens nothing', async () => {
    const { open, g, pause, clock, speaks, bound, log } = setUp();
    pause.before = async ({ permit }) => {
      if (permit !== null) await clock.advance(PERMIT_MS);
    };
    expect(await open(g)).toMatchObject({ ok: false, error: { code: 'LATE' } });
    expect(bound()).toEqual([A]);
    expect(speaks(A)).toBe(false);
    pause.before = async () => {};
    expect(await open(g)).toMatchObject({ value: { opened: ['g'] } });
    expect(speaks(A)).toBe(true);
    expect(log.of('gate.lost')).toEqual([]);
  });

  it('binds while the VIP is silent, for whole seconds beyond the deadline', async () => {
    const { open, g, pause, kernel, fence, eth0 } = setUp();
    const seen: boolean[] = [];
    pause.before = async ({ permit }) => {
      if (permit !== null) seen.push(kernel.isBound(A), fence.speaks(A, eth0));
    };
    await open(g);
    expect(seen).toEqual([true, false]);
    expect(kernel.boundNow()).toMatchObject([{ address: A, validLifetimeS: 3 }]);
  });

  it('manages every VIP before it binds anything, and one that the spec has just got', async () => {
    const { open, group, pause, fence, gate, places } = setUp();
    const D = ip('10.90.0.104');
    let managed: ReadonlySet<IpAddress> = new Set();
    pause.before = async ({ permit }) => {
      const contents = await fence.observe();
      if (permit !== null && contents.ok) managed = contents.value?.managed ?? managed;
    };
    await open(group('new', D));
    expect([...managed].toSorted()).toEqual([A, B, C, D].toSorted());
    gate.setPlaces({ ...places, vips: [A] });
    await gate.close([group('new', D)]);
    await open();
    const contents = await fence.observe();
    expect(contents.ok && [...(contents.value?.managed ?? [])]).toEqual([A]);
  });

  it('keeps what left the spec managed while it is bound', async () => {
    const { open, g, fence, gate, places } = setUp();
    await open(g);
    gate.setPlaces({ ...places, vips: [] });
    await open(g);
    const contents = await fence.observe();
    expect(contents.ok && contents.value?.managed.has(A)).toBe(true);
  });

  it('keeps it managed also when an old notification says that it has gone', async () => {
    const { gate, places, open, h, eth0, bound, speaks, clock } = setUp();
    await open(h);
    // The notification of an address that expired, read after it was bound again.
    gate.forget(eth0, B);
    gate.setPlaces({ ...places, vips: [A] });
    await clock.advance(ALIVE_MS);
    await gate.permit(100, PERMIT_MS);
    expect(bound()).toContain(B);
    expect(speaks(B)).toBe(false);
  });

  it('lets exactly the named groups speak; the rest is silent at once, then unbound', async () => {
    const { open, g, h, bound, speaks, pause, kernel } = setUp();
    await open(g, h);
    const atCommit: boolean[] = [];
    pause.before = async ({ permit }) => {
      if (permit !== null) atCommit.push(kernel.isBound(B));
    };
    await open(g);
    expect(atCommit).toEqual([true]);
    expect([A, B, C].map(speaks)).toEqual([true, false, false]);
    expect(bound()).toEqual([A]);
  });

  it('names the groups of which an address was refused, and opens the others', async () => {
    const { open, g, h, kernel, speaks } = setUp();
    await open();
    kernel.failNext('bind', 'EPERM');
    expect(await open(g, h)).toMatchObject({
      value: { opened: ['h'], failed: [{ group: 'g', error: { code: 'EPERM' } }] },
    });
    expect([A, B, C].map(speaks)).toEqual([false, true, true]);
    kernel.removeAddress({ linkIndex: 1, address: C, prefix: 64 });
    expect(await open(g, h)).toMatchObject({ value: { failed: [] } });
  });

  it('tells again of a group that was silent in between', async () => {
    const { open, g, clock, gate, kernel, eth0 } = setUp();
    expect(await open(g)).toMatchObject({ value: { opened: ['g'] } });
    expect(await open(g)).toMatchObject({ value: { opened: [] } });
    await clock.advance(ALIVE_MS);
    expect(await open(g)).toMatchObject({ value: { opened: ['g'] } });
    kernel.removeAddress({ linkIndex: eth0, address: A, prefix: 24 });
    expect(gate.forget(eth0, A)).toBe('g');
    expect(await open(g)).toMatchObject({ value: { opened: ['g'] } });
  });

  it('refreshes lifetimes at half their time, and all of them when the hold time grows', async () => {
    const { gate, open, g, kernel, clock } = setUp();
    const left = (): number | null => kernel.boundNow()[0]?.validLifetimeS ?? null;
    await open(g);
    for (let i = 0; i < 4; i++) {
      await clock.advance(340);
      await open(g);
    }
    expect(left()).toBe(1);
    await clock.advance(200);
    await open(g);
    expect(left()).toBe(3);
    await gate.permit(99, PERMIT_MS);
    const until = monoMs(clock.now() + 10_000);
    const groups = [{ ...g, mode: 'open' as const }];
    await gate.arm({ round: 99, groups, until, aliveMs: 9_000 });
    expect((left() ?? 0) * 1000).toBeGreaterThan(9_000);
  });

  it('binds nothing that has ended while the process was stopped after its batch: the rules may be gone', async () => {
    const { open, g, h, clock, fence, pause, bound } = setUp();
    await open(g, h);
    await clock.advance(340);
    pause.after = async () => {
      await clock.advance(4000);
      fence.flush();
    };
    // As before, and anew.
    for (const groups of [[g, h], [g]]) {
      await open(...groups);
      expect(bound()).toEqual([]);
    }
  });

  it('tells of a group whose lifetimes the kernel will not refresh: it ends before its time', async () => {
    const { clock, open, g, h, kernel, speaks } = setUp();
    await open(g, h);
    await clock.advance(1500);
    kernel.failNext('bind', 'EPERM');
    const armed = await open(g, h);
    expect(armed).toMatchObject({ value: { failed: [{ group: 'g', error: { code: 'EPERM' } }] } });
    // It was armed all the same, and speaks while its address lives.
    expect([A, B].map(speaks)).toEqual([true, true]);
    expect(await open(g, h)).toMatchObject({ value: { failed: [] } });
  });

  it('with nothing of the time left fails before anything is asked of the kernel', async () => {
    const { gate, g, clock, fence } = setUp();
    await gate.permit(1, PERMIT_MS);
    const { commits } = fence.counters;
    const request = { round: 1, groups: [{ ...g, mode: 'open' as const }], aliveMs: ALIVE_MS };
    expect(await gate.arm({ ...request, until: clock.now() })).toMatchObject({
      error: { code: 'LATE' },
    });
    expect(fence.counters.commits).toBe(commits);
  });

  it('in doubt about a batch asks the kernel before it builds on it', async () => {
    const { open, g, h, fence, pause, speaks } = setUp();
    await open(g);
    pause.before = async ({ permit }) => {
      if (permit === null) return;
      pause.before = async () => {};
      // Applied, but the answer is lost.
      await fence.commit({
        permit: null,
        alive: null,
        managed: NONE,
        muted: NONE,
        served: NONE,
        directors: NONE,
        enabled: { add: [B, C], remove: [A] },
      });
      fence.failNext({ code: 'TIMEOUT', message: 'no answer' });
    };
    expect(await open(h)).toMatchObject({ ok: false, error: { code: 'TIMEOUT' } });
    expect(await open(g)).toMatchObject({ ok: true });
    expect([A, B, C].map(speaks)).toEqual([true, false, false]);
  });
});

const NONE = { add: [], remove: [] };

describe('a handover', () => {
  it('is prepared bound and silent, and opens between two rounds', async () => {
    const { round, gate, g, clock, speaks, bound } = setUp();
    const until = monoMs(clock.now() + HOLD_MS);
    const armed = await round([{ ...g, mode: 'prepared' }]);
    expect(armed).toMatchObject({ value: { opened: [], failed: [] } });
    expect(bound()).toEqual([A]);
    expect(speaks(A)).toBe(false);
    await clock.advance(50);
    const opened = await gate.open([g], until);
    expect(opened).toMatchObject({ value: { opened: ['g'], failed: [] } });
    expect(speaks(A)).toBe(true);
    expect(armed.ok && opened.ok && opened.value.speaksUntil).toBe(
      armed.ok && armed.value.speaksUntil,
    );
    // Open already: the next arming tells nothing new, and opening again is no failure.
    expect(await gate.open([g], until)).toMatchObject({ value: { opened: [], failed: [] } });
    expect(await round([{ ...g, mode: 'open' }])).toMatchObject({ value: { opened: [] } });
  });

  it('opens nothing that the last arming did not prepare', async () => {
    const { round, gate, g, h, clock, speaks } = setUp();
    const until = monoMs(clock.now() + HOLD_MS);
    await round([{ ...g, mode: 'prepared' }]);
    await round([{ ...h, mode: 'open' }]);
    expect(await gate.open([g], until)).toMatchObject({
      value: { opened: [], failed: [{ group: 'g' }] },
    });
    expect(speaks(A)).toBe(false);
  });

  it('opened late, or after a pause, does not speak', async () => {
    const { round, gate, g, clock, speaks, pause } = setUp();
    const until = monoMs(clock.now() + HOLD_MS);
    await round([{ ...g, mode: 'prepared' }]);
    pause.before = () => clock.advance(HOLD_MS);
    await gate.open([g], until);
    expect(speaks(A)).toBe(false);
    expect(await gate.open([g], until)).toMatchObject({ error: { code: 'LATE' } });
  });

  it('ends answers to ARP and ND and goes on forwarding, until it is closed', async () => {
    const { open, round, gate, g, h, answers, speaks, bound } = setUp();
    await open(g, h);
    expect(await gate.mute([h])).toMatchObject({ ok: true });
    expect([A, B, C].map(speaks)).toEqual([true, true, true]);
    expect([A, B, C].map(answers)).toEqual([true, false, false]);
    const next = [
      { ...g, mode: 'open' as const },
      { ...h, mode: 'muted' as const },
    ];
    expect(await round(next)).toMatchObject({ value: { opened: [], failed: [] } });
    expect([B, C].map(answers)).toEqual([false, false]);
    expect([B, C].map(speaks)).toEqual([true, true]);
    expect(await gate.close([h])).toMatchObject({ ok: true });
    expect(bound()).toEqual([A]);
  });

  it('ends answers also for a VIP that the spec has just moved into the group', async () => {
    const { gate, open, g, h, places, answers } = setUp();
    await open(g, h);
    // B was bound for h; by the new spec it is g's, and nothing has been armed by that yet.
    gate.setPlaces({ ...places, groups: new Map([[B, g.group]]) });
    await gate.mute([g]);
    expect([answers(A), answers(B), answers(C)]).toEqual([false, false, true]);
  });

  it('is placed only when nothing is bound for the group that had it before', async () => {
    const { gate, open, g, h, places } = setUp();
    await open(g, h);
    expect(gate.isPlaced()).toBe(true);
    gate.setPlaces({ ...places, groups: new Map([[B, g.group]]) });
    expect(gate.isPlaced()).toBe(false);
    await open({ ...g, addresses: [...g.addresses, ...h.addresses.slice(0, 1)] });
    expect(gate.isPlaced()).toBe(true);
  });

  it('that fails lets the former holder answer again', async () => {
    const { open, gate, g, answers } = setUp();
    await open(g);
    await gate.mute([g]);
    expect(await open(g)).toMatchObject({ value: { opened: ['g'] } });
    expect(answers(A)).toBe(true);
  });
});

describe('many groups at once', () => {
  const manyOf = (group: (name: string, ...own: IpAddress[]) => GateGroup) =>
    Array.from({ length: 100 }, (_, i) => group(`m${i}`, ip(`10.91.0.${i + 1}`)));

  it('are bound by 32 with each arming, and what speaks already goes on', async () => {
    const { gate, g, group, open, speaks, bound } = setUp();
    const many = manyOf(group);
    await open(g);
    gate.forget(1, A);
    let rounds = 0;
    for (let left = many.length; left > 0; rounds++) {
      const armed = await open(...many, g);
      expect(armed.ok && armed.value.failed).toEqual([]);
      expect(speaks(A)).toBe(true);
      left = armed.ok ? armed.value.deferred.length : left;
    }
    expect(rounds).toBe(4);
    expect(bound()).toHaveLength(101);
  });

  it('that the kernel refuses are not asked for again and again', async () => {
    const { gate, group, kernel } = setUp();
    const many = manyOf(group);
    kernel.failNext('bind', 'EPERM', 100);
    expect(await gate.foresee(many)).toBe(false);
  });

  it('are foreseen part by part', async () => {
    const { gate, group, bound } = setUp();
    const many = manyOf(group);
    expect(await gate.foresee(many)).toBe(true);
    expect(bound()).toHaveLength(32);
    for (let i = 0; i < 2; i++) expect(await gate.foresee(many)).toBe(true);
    expect(await gate.foresee(many)).toBe(false);
    expect(bound()).toHaveLength(100);
  });
});

describe('what is foreseen', () => {
  it('is bound and silent, and stays so beside what is armed', async () => {
    const { gate, g, h, open, bound, speaks, clock } = setUp();
    await open(g);
    await gate.foresee([h]);
    expect(bound().toSorted()).toEqual([A, B, C]);
    await clock.advance(100);
    await open(g);
    expect(bound().toSorted()).toEqual([A, B, C]);
    expect([A, B, C].map(speaks)).toEqual([true, false, false]);
    expect((await gate.check(({ length }) => length > 0)).ok).toBe(true);
    expect(speaks(B)).toBe(false);
  });

  it('opens by one batch more, and is announced', async () => {
    const { gate, h, open, speaks } = setUp();
    await gate.foresee([h]);
    const armed = await open(h);
    expect(armed.ok && armed.value.opened).toEqual(['h']);
    expect(speaks(B)).toBe(true);
    await gate.foresee([]);
    expect(speaks(B)).toBe(true);
  });

  it('is unbound when it is foreseen no more', async () => {
    const { gate, h, bound } = setUp();
    await gate.foresee([h]);
    await gate.foresee([]);
    expect(bound()).toEqual([]);
  });
});

describe('an IPv6 address', () => {
  it('is settled when the kernel has told of it, or after a while', async () => {
    const { gate, h, round, clock, eth0 } = setUp();
    const prepare = () => round([{ ...h, mode: 'prepared' }]);
    const unsettled = async (): Promise<unknown> => {
      const armed = await prepare();
      return armed.ok ? armed.value.unsettled : armed.error;
    };
    expect(await unsettled()).toEqual(['h']);
    expect(await unsettled()).toEqual(['h']);
    gate.seen(eth0, C);
    expect(await unsettled()).toEqual([]);
    await gate.close([h]);
    expect(await unsettled()).toEqual(['h']);
    await clock.advance(250);
    expect(await unsettled()).toEqual([]);
  });

  it('is settled at once when the kernel tells of it before it answers', async () => {
    const { gate, h, round, kernel, eth0 } = setUp();
    const bind = kernel.bind.bind(kernel);
    kernel.bind = async (requests) => {
      gate.seen(eth0, C);
      const results = await bind(requests);
      gate.seen(eth0, C);
      return results;
    };
    const armed = await round([{ ...h, mode: 'prepared' }]);
    expect(armed.ok && armed.value.unsettled).toEqual([]);
  });
});

describe('closing', () => {
  it('silences first, then unbinds, and is a success where nothing is open', async () => {
    const { open, gate, g, h, group, pause, kernel, bound } = setUp();
    await open(g, h);
    const atCommit: boolean[] = [];
    pause.before = async () => void atCommit.push(kernel.isBound(B));
    expect(await gate.close([h, group('never', ip('10.90.0.150'))])).toMatchObject({ ok: true });
    expect(atCommit).toEqual([true]);
    expect(bound()).toEqual([A]);
  });

  it('unbinds also what the group had before its addresses changed', async () => {
    const { open, gate, g, group, bound } = setUp();
    await open(g);
    expect(await gate.close([group('g', B)])).toMatchObject({ ok: true });
    expect(bound()).toEqual([]);
  });

  it('leaves alone what another group has taken over', async () => {
    const { open, gate, g, group, speaks } = setUp();
    await open(g);
    await open(group('heir', A));
    expect(await gate.close([g])).toMatchObject({ ok: true });
    expect(speaks(A)).toBe(true);
  });

  it('is acknowledged only when rules and addresses are, and can be asked again', async () => {
    const { open, gate, h, kernel, fence, bound, speaks } = setUp();
    await open(h);
    fence.failNext({ code: 'EPERM', message: 'EPERM' });
    kernel.failNext('unbind', 'EPERM');
    expect(await gate.close([h])).toMatchObject({ ok: false });
    kernel.failNext('unbind', 'EPERM');
    expect(await gate.close([h])).toMatchObject({ ok: false });
    expect(bound()).toHaveLength(1);
    expect([B, C].map(speaks)).toEqual([false, false]);
    expect(await gate.close([h])).toMatchObject({ ok: true });
    expect(bound()).toEqual([]);
  });
});

describe('rules that are gone', () => {
  it('at the permit: everything is unbound before they are made anew, and this round opens again', async () => {
    const { open, g, fence, bound, speaks, log, clock } = setUp();
    await open(g);
    fence.flush();
    const install = fence.install.bind(fence);
    let boundAtInstall: string[] = ['never'];
    fence.install = (devices) => {
      boundAtInstall = bound();
      return install(devices);
    };
    expect(await open(g)).toMatchObject({ value: { opened: ['g'] } });
    expect(boundAtInstall).toEqual([]);
    expect(log.of('gate.lost')).toEqual([{ addresses: 1 }]);
    expect(speaks(A)).toBe(true);
    await clock.advance(ALIVE_MS);
    expect(speaks(A)).toBe(false);
  });

  it('do not make news of our own unbinding, which is told when all is bound again', async () => {
    const { open, g, fence, gate, eth0, clock } = setUp();
    await open(g);
    fence.flush();
    await open(g);
    expect(gate.forget(eth0, A)).toBeNull();
    expect(await open(g)).toMatchObject({ value: { opened: [] } });
    // The next one is somebody else's doing, and so is a late one.
    expect(gate.forget(eth0, A)).toBe('g');
    await open(g);
    fence.flush();
    await open(g);
    await clock.advance(1000);
    expect(gate.forget(eth0, A)).toBe('g');
  });

  it.each(['arm', 'close', 'mute'] as const)('at %s: nothing stays bound', async (name) => {
    const { open, gate, g, fence, bound, pause, speaks } = setUp();
    await open(g);
    pause.before = async () => {
      fence.flush();
      pause.before = async () => {};
    };
    if (name === 'arm') expect(await open(g)).toMatchObject({ error: { code: 'MISSING' } });
    else expect(await gate[name]([g])).toMatchObject({ ok: true });
    expect(bound()).toEqual([]);
    expect(await open(g)).toMatchObject({ value: { opened: ['g'] } });
    expect(speaks(A)).toBe(true);
  });

  it('are noticed by the check on a standby director, too', async () => {
    const { open, gate, fence, g, bound } = setUp();
    await open(g);
    fence.flush();
    expect(await gate.check(() => true)).toMatchObject({ ok: true });
    expect(bound()).toEqual([]);
    const contents = await fence.observe();
    expect(contents.ok && contents.value?.managed.has(A)).toBe(true);
  });

  it('are looked at as a whole every ten seconds where nobody else has changed any', async () => {
    const { open, gate, fence, g, clock } = setUp();
    const looks: number[] = [];
    for (const ms of [0, 9_000, 1_000]) {
      await clock.advance(ms);
      await open(g);
      await gate.check(() => true);
      looks.push(fence.counters.observations);
    }
    expect(looks.map((count) => count - (looks[0] ?? 0))).toEqual([0, 0, 1]);
  });

  it('follow a device that was made anew', async () => {
    const { open, gate, g, kernel, fence, eth0, group, places } = setUp();
    await open(g);
    kernel.removeLink(eth0);
    const index = kernel.addLink('eth0');
    gate.setPlaces({ ...places, devices: [{ index, name: 'eth0' }] });
    const moved = {
      ...g,
      addresses: group('g', A).addresses.map((a) => ({ ...a, linkIndex: index })),
    };
    // A request that is older than the news.
    expect(await open(g)).toMatchObject({ value: { failed: [{ error: { code: 'ENODEV' } }] } });
    expect(kernel.boundNow()).toEqual([]);
    expect(await open(moved)).toMatchObject({ value: { opened: ['g'] } });
    expect(fence.speaks(A, index)).toBe(true);
  });

  it('flushed unseen, and with the device made anew: what is prepared stays silent', async () => {
    const { round, gate, g, kernel, fence, eth0, group, places } = setUp();
    await round([]);
    fence.flush();
    kernel.removeLink(eth0);
    const index = kernel.addLink('eth0');
    gate.setPlaces({ ...places, devices: [{ index, name: 'eth0' }] });
    const addresses = group('g', A).addresses.map((a) => ({ ...a, linkIndex: index }));
    const done = await round([{ ...g, addresses, mode: 'prepared' }]);
    expect(done.ok).toBe(true);
    expect(kernel.isBound(A)).toBe(true);
    expect(fence.speaks(A, index)).toBe(false);
  });

  it('and a device made anew: nothing is built on rules that are new and empty', async () => {
    const { round, open, g, h, kernel, fence, gate, places, speaks, bound } = setUp();
    await open(g);
    await round([
      { ...g, mode: 'open' },
      { ...h, mode: 'prepared' },
    ]);
    fence.flush();
    const index = kernel.addLink('eth1');
    gate.setPlaces({ ...places, devices: [...places.devices, { index, name: 'eth1' }] });
    expect(await gate.check(() => true)).toMatchObject({ ok: true });
    expect(bound()).toEqual([]);
    const contents = await fence.observe();
    expect(contents.ok && contents.value?.managed.has(B)).toBe(true);
    expect(await open(g)).toMatchObject({ value: { opened: ['g'] } });
    expect([A, B].map(speaks)).toEqual([true, false]);
  });

  it('and a device made anew, met by the permit: the same', async () => {
    const { open, g, h, kernel, fence, gate, places, round, bound, speaks } = setUp();
    await round([{ ...h, mode: 'prepared' }]);
    fence.flush();
    const index = kernel.addLink('eth1');
    gate.setPlaces({ ...places, devices: [...places.devices, { index, name: 'eth1' }] });
    expect(await gate.permit(77, PERMIT_MS)).toMatchObject({ ok: true });
    expect(bound()).toEqual([]);
    await open(g);
    expect([A, B].map(speaks)).toEqual([true, false]);
  });

  it('on a device that left and came back with its index are looked at, and made anew, before it speaks', async () => {
    const { open, gate, g, places, fence, speaks } = setUp();
    await open(g);
    gate.setPlaces({ ...places, devices: [] });
    gate.setPlaces(places);
    // The tables outlive the device; what was hooked to it does not.
    const [observe, install] = [fence.observe.bind(fence), fence.install.bind(fence)];
    let installed: readonly string[] = [];
    fence.observe = async () => {
      const seen = await observe();
      const isWhole = installed.length > 0 || !seen.ok || seen.value === null;
      return isWhole ? seen : { ok: true, value: { ...seen.value, devices: [] } };
    };
    fence.install = (devices) => {
      installed = devices.map(({ name }) => name);
      return install(devices);
    };
    const armed = await open(g);
    expect(installed).toEqual(['eth0']);
    expect(armed).toMatchObject({ value: { opened: ['g'], failed: [] } });
    expect(speaks(A)).toBe(true);
  });

  it('that cannot be made leave nothing bound, and the problem is told', async () => {
    const { open, g, fence, bound, gate } = setUp();
    await open(g);
    fence.flush();
    fence.install = async () => ({ ok: false, error: { code: 'EPERM', message: 'EPERM' } });
    expect(await open(g)).toMatchObject({ error: { code: 'EPERM' } });
    expect(await gate.check(() => true)).toMatchObject({ error: { code: 'EPERM' } });
    expect(bound()).toEqual([]);
  });
});

describe('a new life', () => {
  it('goes on with what it keeps, unheard of by a client, and silences the rest at once', async () => {
    const { open, round, g, h, life, places, speaks, fence, eth0 } = setUp();
    await open(g, h);
    const next = life();
    next.setPlaces(places);
    const adopted = await next.adopt([g]);
    expect(adopted).toEqual({ ok: true, value: new Map([['g', fence.aliveUntil(eth0)]]) });
    expect([A, B, C].map(speaks)).toEqual([true, false, false]);
    expect(await next.check(() => true)).toMatchObject({ ok: true });
    expect(speaks(A)).toBe(true);
    const armed = await round([{ ...g, mode: 'open' }], { on: next });
    expect(armed).toMatchObject({ value: { failed: [] } });
    expect(speaks(A)).toBe(true);
  });

  it('is told that what it keeps has fallen silent meanwhile', async () => {
    const { open, g, life, places, speaks, clock } = setUp();
    await open(g);
    await clock.advance(ALIVE_MS);
    const next = life();
    next.setPlaces(places);
    const adopted = await next.adopt([g]);
    expect(adopted).toEqual({ ok: true, value: new Map([['g', Number.NEGATIVE_INFINITY]]) });
    expect(speaks(A)).toBe(false);
  });

  it('without rules unbinds what an earlier one left before it makes new ones', async () => {
    const { open, g, h, life, places, fence, pause, bound } = setUp();
    await open(g, h);
    fence.flush();
    const next = life();
    next.setPlaces(places);
    const atCommit: string[][] = [];
    pause.before = async () => void atCommit.push(bound());
    expect(await next.adopt([])).toMatchObject({ ok: true });
    // Stopped exactly there it is silent all the same.
    expect(atCommit.length).toBeGreaterThan(0);
    expect(atCommit.flat()).toEqual([]);
  });

  it('keeps nothing without rules: it would speak for ever', async () => {
    const { open, g, life, places, fence, speaks } = setUp();
    await open(g);
    fence.flush();
    const next = life();
    next.setPlaces(places);
    expect(await next.adopt([g])).toEqual({ ok: true, value: new Map() });
    expect(speaks(A)).toBe(false);
  });

  it('keeps managed what may still be bound, until it is not', async () => {
    const { open, g, h, life, places, fence } = setUp();
    await open(g, h);
    const next = life();
    next.setPlaces({ ...places, vips: [A] });
    await next.adopt([g]);
    const contents = await fence.observe();
    expect(contents.ok && [...(contents.value?.managed ?? [])]).toEqual([A, B, C]);
  });

  it('of which nothing is known by name closes and mutes what it keeps of a group by its name', async () => {
    const { open, gate, g, h, life, places, bound, answers } = setUp();
    await open(g, h);
    const next = life();
    next.setPlaces(places);
    await next.adopt([g, h]);
    const nameOnly = { group: g.group, addresses: [] };
    expect(await next.mute([nameOnly])).toMatchObject({ ok: true });
    expect([A, B].map(answers)).toEqual([false, true]);
    expect(await next.close([nameOnly])).toMatchObject({ ok: true });
    expect(bound()).toEqual([B, C]);
    expect(gate.kind).toBe('netdev');
  });

  it('closes what the election turns out not to hold', async () => {
    const { open, g, life, places, bound, speaks } = setUp();
    await open(g);
    const next = life();
    next.setPlaces(places);
    await next.adopt([g]);
    expect(await next.check(() => false)).toMatchObject({ ok: true });
    expect(speaks(A)).toBe(false);
    expect(bound()).toEqual([]);
  });
});

describe('the end', () => {
  it('removes the rules with everything that is bound', async () => {
    const { open, g, gate, fence, bound } = setUp();
    await open(g);
    expect(await gate.uninstall()).toMatchObject({ ok: true });
    expect(bound()).toEqual([]);
    expect(await fence.observe()).toEqual({ ok: true, value: null });
  });

  it('of a life that never adopted unbinds first what an earlier one left speaking', async () => {
    const { open, g, h, life, places, fence, kernel, bound, eth0 } = setUp();
    await open(g, h);
    const next = life();
    next.setPlaces(places);
    const order: string[] = [];
    const [unbind, uninstall] = [kernel.unbind.bind(kernel), fence.uninstall.bind(fence)];
    kernel.unbind = (keys) => {
      order.push(`unbind ${keys.length}`);
      return unbind(keys);
    };
    fence.uninstall = () => {
      order.push('uninstall');
      return uninstall();
    };
    const foreign = { linkIndex: eth0, address: ip('10.90.0.7'), prefix: 24 };
    kernel.addForeignAddress(foreign);
    expect(await next.uninstall()).toMatchObject({ ok: true });
    expect(order).toEqual(['unbind 3', 'uninstall']);
    // What nobody bound for the gate, and no rule silences, is none of its business.
    expect(bound()).toEqual(['10.90.0.7']);
    expect(await fence.observe()).toEqual({ ok: true, value: null });
  });

  it('unbinds also an address without our mark that its rules silence', async () => {
    const { open, g, life, places, kernel, bound, eth0 } = setUp();
    await open(g);
    kernel.addForeignAddress({ linkIndex: eth0, address: B, prefix: 24 });
    const next = life();
    next.setPlaces(places);
    expect(await next.uninstall()).toMatchObject({ ok: true });
    expect(bound()).toEqual([]);
  });

  it.each(['addresses', 'unbind'] as const)(
    'of a life that never adopted leaves the rules where the kernel refuses %s',
    async (call) => {
      const { open, g, life, places, fence, kernel, speaks, clock } = setUp();
      await open(g);
      const next = life();
      next.setPlaces(places);
      kernel.failNext(call, 'EPERM');
      expect(await next.uninstall()).toMatchObject({ error: { code: 'EPERM' } });
      expect(await fence.observe()).not.toEqual({ ok: true, value: null });
      await clock.advance(ALIVE_MS);
      expect(speaks(A)).toBe(false);
    },
  );

  it('leaves everything where the rules cannot be looked at', async () => {
    const { open, g, gate, fence, bound } = setUp();
    await open(g);
    fence.failNext({ code: 'EBUSY', message: 'EBUSY' });
    expect(await gate.uninstall()).toMatchObject({ error: { code: 'EBUSY' } });
    expect(bound()).toEqual([A]);
    expect(await fence.observe()).not.toEqual({ ok: true, value: null });
  });

  it('leaves the rules where something cannot be unbound', async () => {
    const { open, g, gate, fence, kernel } = setUp();
    await open(g);
    kernel.failNext('unbind', 'EPERM');
    expect(await gate.uninstall()).toMatchObject({ ok: false });
    expect(await fence.observe()).not.toEqual({ ok: true, value: null });
  });
});
