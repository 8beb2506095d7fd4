import { defineConfig } from 'vitest/config';

// Projects of one group run at the same time, group after group: alone where times are judged.
const serial = { fileParallelism: false, maxWorkers: 1 } as const;
/** One for each core, where by default one is left free; most labs wait, in namespaces or guests of their own. */
const inPairs = { maxWorkers: 2 } as const;
/** Nothing of these is judged by parts of a second. */
const calmLabs = [
  'bad-days',
  'check-kinds',
  'checks',
  'network',
  'realserver',
  'vip-path',
  'marks',
  'confirm-dead',
  'flapping',
].map((name) => `test/lab/${name}.test.ts`);
/** A busy machine may stop everything for a good part of a second. */
const patient = { expect: { poll: { timeout: 15_000 } } } as const;
const inLabs = { testTimeout: 180_000, hookTimeout: 120_000 } as const;
/** Several machines at work, and bounds on how long they take: nothing runs beside these. */
const racks = ['test/rack/forwarding.test.ts', 'test/rack/methods.test.ts'];
const inGuests = { testTimeout: 300_000, hookTimeout: 300_000 } as const;

export default defineConfig({
  test: {
    projects: [
      // Half the processor time: modules are loaded once for all files, none of which leaves anything behind.
      {
        test: {
          name: 'unit',
          include: ['test/unit/**/*.test.ts'],
          isolate: false,
          // Two of three runs of these go beside other suites, out of their way: that is slow, not broken.
          testTimeout: 60_000,
          hookTimeout: 60_000,
          ...patient,
          ...inPairs,
        },
      },
      {
        test: {
          name: 'sim',
          include: ['test/sim/**/*.test.ts'],
          testTimeout: 300_000,
          ...inPairs,
        },
      },
      {
        test: {
          name: 'contract',
          include: ['test/contract/**/*.test.ts'],
          testTimeout: 60_000,
          hookTimeout: 60_000,
          ...patient,
          ...inPairs,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          name: 'lab-calm',
          include: calmLabs,
          ...inLabs,
          ...inPairs,
          sequence: { groupOrder: 2 },
        },
      },
      {
        test: {
          name: 'lab',
          include: ['test/lab/**/*.test.ts'],
          exclude: calmLabs,
          ...inLabs,
          ...serial,
          sequence: { groupOrder: 3 },
        },
      },
      {
        test: {
          name: 'rack-guest',
          include: ['test/rack/**/*.test.ts'],
          exclude: racks,
          ...inGuests,
          ...inPairs,
          sequence: { groupOrder: 4 },
        },
      },
      {
        test: {
          name: 'rack',
          include: racks,
          ...inGuests,
          ...serial,
          sequence: { groupOrder: 5 },
        },
      },
    ],
  },
});
