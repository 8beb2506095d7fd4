/** Expected outcomes as values: a failure that callers must look at, never a throw. */
export type Result<T, E> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly error: E };

export const ok = <T>(value: T): { readonly ok: true; readonly value: T } => ({ ok: true, value });

export const err = <E>(error: E): { readonly ok: false; readonly error: E } => ({
  ok: false,
  error,
});

/** The text of anything that was thrown or rejected. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
