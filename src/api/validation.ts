/** Validates requests with TypeBox itself: all problems at once, and no coercion inside bodies. */
import type { FastifySchemaCompiler } from 'fastify';
import Value from 'typebox/value';
import type { TSchema } from 'typebox';
import { createProblem, ProblemError } from './problem.ts';
import type { InputProblem } from './schemas/problem.ts';

/** Where errors are not counted any more. */
const PROBLEMS_MAX = 100;
/** Repeat what a more precise error of the same place already says. */
const ECHOES = new Set(['anyOf', 'additionalProperties']);

/** Query, parameters and headers are text, so they are converted first; a body must have the right types. */
export const compileValidator: FastifySchemaCompiler<TSchema> =
  ({ schema, httpPart }) =>
  (data: unknown) => {
    const value = httpPart === 'body' ? data : Value.Convert(schema, data ?? {});
    if (Value.Check(schema, value)) return { value };
    const problems = listProblems(schema, value, httpPart ?? 'request');
    const detail = problems.map(({ path, message }) => `${path}: ${message}`).join('; ');
    return { error: new ProblemError(createProblem('bad-request', detail, { problems })) };
  };

function listProblems(schema: TSchema, value: unknown, part: string): InputProblem[] {
  const place = part === 'querystring' ? 'query' : part;
  const problems: InputProblem[] = [];
  for (const error of Value.Errors(schema, value)) {
    if (ECHOES.has(error.keyword)) continue;
    const path = place + error.instancePath.replaceAll('/', '.');
    const isUnknown = error.schemaPath.endsWith('/additionalProperties');
    const allowed = isUnknown ? Object.keys(propertiesOf(schema)).join(', ') || 'nothing' : '';
    problems.push({ path, message: isUnknown ? 'is not known here' : error.message, allowed });
    if (problems.length === PROBLEMS_MAX) break;
  }
  return problems;
}

function propertiesOf(schema: TSchema): object {
  return 'properties' in schema && typeof schema.properties === 'object' && schema.properties
    ? schema.properties
    : {};
}
