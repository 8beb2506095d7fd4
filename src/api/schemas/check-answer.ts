/** The client's side of the schemas: an answer is external data until it was checked. */
import type { Static, TSchema } from 'typebox';
import Value from 'typebox/value';
import { err, ok, type Result } from '../../lib/result.ts';

/** The error says where the answer differs first: the director is of another version. */
export function checkAnswer<S extends TSchema>(
  schema: S,
  body: unknown,
): Result<Static<S>, string> {
  if (fits(schema, body)) return ok(body);
  const [first] = Value.Errors(schema, body);
  return err(first === undefined ? 'it does not fit' : `${first.instancePath}: ${first.message}`);
}

const fits = <S extends TSchema>(schema: S, body: unknown): body is Static<S> =>
  Value.Check(schema, body);
