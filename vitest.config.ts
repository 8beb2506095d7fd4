import { defineConfig } from 'vitest/config';

const serial = { fileParallelism: false, maxWorkers: 1 } as const;

export default defineConfig({
  test: {
    projects: [
      { test: { name: 'unit', include: ['test/unit/**/*.test.ts'] } },
      { test: { name: 'sim', include: ['test/sim/**/*.test.ts'], testTimeout: 300_000 } },
      {
        test: {
          name: 'contract',
          include: ['test/contract/**/*.test.ts'],
          testTimeout: 60_000,
          hookTimeout: 60_000,
          ...serial,
        },
      },
      {
        test: {
          name: 'lab',
          include: ['test/lab/**/*.test.ts'],
          testTimeout: 180_000,
          hookTimeout: 120_000,
          ...serial,
        },
      },
      {
        test: {
          name: 'rack',
          include: ['test/rack/**/*.test.ts'],
          testTimeout: 300_000,
          hookTimeout: 300_000,
          ...serial,
        },
      },
    ],
  },
});
