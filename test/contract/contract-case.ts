/**
 * Contract cases as plain functions, so that one list runs in vitest on the fake, and on the real kernel
 * inside a namespace or a guest where no test runner is.
 */
export type ContractCase<World> = {
  readonly name: string;
  readonly run: (world: World) => Promise<void>;
};

export type CaseResult = { readonly name: string; readonly error: string | null };

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
