/** For values that the rules have looked at before. */
import type { Result } from '../lib/result.ts';

/** The value; a failure here is a bug of ours. */
export function must<T>(result: Result<T, string>): T {
  if (result.ok) return result.value;
  throw new Error(`unchecked value: ${result.error}`);
}

/** The value; where nothing stands it is a bug of ours. */
export function present<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('unchecked value: nothing');
  return value;
}
