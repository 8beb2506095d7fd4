/** The client's side of the schemas: an answer is external data until it was checked. */
import type { Static, TSchema } from 'typebox';
import { Compile } from 'typebox/compile';
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

/** As `checkAnswer`, for answers of very many lines: compiled once. */
export function createLineCheck<S extends TSchema>(
  schema: S,
): (line: string) => Result<Static<S>, string> {
  const compiled = Compile(schema);
  const isFit = (value: unknown): value is Static<S> => compiled.Check(value);
  return (line) => {
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch {
      return err(`no JSON: ${line.slice(0, 80)}`);
    }
    if (isFit(value)) return ok(value);
    const [first] = Value.Errors(schema, value);
    return err(first === undefined ? 'it does not fit' : `${first.instancePath}: ${first.message}`);
  };
}
