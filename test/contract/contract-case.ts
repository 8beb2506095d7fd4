/**
 * Contract cases as plain functions, so that one list runs in vitest on the fake, and on the real kernel
 * inside a namespace or a guest where no test runner is.
 */
export type ContractCase<World> = {
  readonly name: string;
  readonly run: (world: World) => Promise<void>;
};

export type CaseResult = { readonly name: string; readonly error: string | null };

/**
 * Advances until it holds. Ends without a word where it does not within `limitMs`: the assertion that follows
 * tells what there is instead. The limit is for what is broken; a machine that pauses does not come near it.
 */
export async function waitUntil(
  world: { readonly advance: (ms: number) => Promise<void> },
  holds: () => Promise<boolean> | boolean,
  { limitMs = 10_000, stepMs = 10 }: { readonly limitMs?: number; readonly stepMs?: number } = {},
): Promise<void> {
  // In steps, not by a clock: a pause counts as one of them.
  for (let left = limitMs; left > 0 && !(await holds()); left -= stepMs)
    await world.advance(stepMs);
}

/** Runs all, each in a world of its own; a failure does not stop the others. */
export async function runCases<World>(
  cases: readonly ContractCase<World>[],
  createWorld: () => Promise<{ readonly world: World; readonly end: () => Promise<void> }>,
): Promise<readonly CaseResult[]> {
  const results: CaseResult[] = [];
  for (const { name, run } of cases) {
    const { world, end } = await createWorld();
    let error: string | null = null;
    try {
      await run(world);
    } catch (thrown) {
      error = thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown);
    }
    await end();
    results.push({ name, error });
  }
  return results;
}
