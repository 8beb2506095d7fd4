/**
 * Compares a value with a schema and explains every difference, with a path and a remedy.
 * Reads the JSON Schema that TypeBox builds (the keywords used in `config/` only); its verdict
 * equals TypeBox's own, but the words are for the person who wrote the document.
 */
import type Type from 'typebox';
import { runSteps } from '../lib/steps.ts';
import { NAME_PATTERN } from '../model/ids.ts';
import { nearestWord } from './nearest.ts';
import { joinPath, type Problem } from './problem.ts';

type Schema = {
  readonly type?: string;
  readonly description?: string;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly Schema[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly patternProperties?: Readonly<Record<string, Schema>>;
  readonly minProperties?: number;
  readonly items?: Schema;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly pattern?: string;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minimum?: number;
  readonly maximum?: number;
};

/** Every difference between the value and the schema; none means that the value fits. */
export const explainShape = (schema: Type.TSchema, value: unknown): readonly Problem[] =>
  runSteps(explainShapeSteps(schema, value));

/** Lists and maps that may be long are no deeper: `services.<name>.realServers[…]`. */
const STEP_DEPTH = 4;

/** The same in pieces. */
export const explainShapeSteps = (
  schema: Type.TSchema,
  value: unknown,
): Generator<undefined, readonly Problem[]> =>
  explainSteps(schema as Schema, { value, path: '', depth: STEP_DEPTH });

type Place = { readonly value: unknown; readonly path: string; readonly depth: number };

function* explainSteps(
  schema: Schema,
  { value, path, depth }: Place,
): Generator<undefined, readonly Problem[]> {
  yield;
  if (depth === 0 || schema.anyOf !== undefined || !typeFits(schema, value))
    return explain(schema, value, path);
  const problems: Problem[] = [];
  const isList = Array.isArray(value);
  if (!isList && !isObject(value)) return explain(schema, value, path);
  problems.push(...(isList ? listProblems(schema, value, path) : mapProblems(schema, value, path)));
  for (const [key, entry] of isList ? value.entries() : Object.entries(value)) {
    const below = typeof key === 'number' ? (schema.items ?? null) : propertySchema(schema, key);
    if (below !== null) {
      const place = { value: entry, path: joinPath(path, key), depth: depth - 1 };
      for (const problem of yield* explainSteps(below, place)) problems.push(problem);
    } else if (typeof key === 'string') problems.push(unknownKey(schema, key, path));
  }
  return problems;
}

function explain(schema: Schema, value: unknown, path: string): readonly Problem[] {
  if (schema.anyOf !== undefined) return explainUnion(schema, schema.anyOf, value, path);
  if (!typeFits(schema, value))
    return [{ path, message: misfit(schema, value), allowed: describe(schema) }];
  if (Array.isArray(value)) return explainArray(schema, value, path);
  if (isObject(value)) return explainObject(schema, value, path);
  const message = scalarMessage(schema, value);
  return message === null ? [] : [{ path, message, allowed: describe(schema) }];
}

/** The branch of the value's own type speaks; of several, the one with the least to say. */
function explainUnion(
  schema: Schema,
  branches: readonly Schema[],
  value: unknown,
  path: string,
): readonly Problem[] {
  const fitting = branches.filter((branch) => typeFits(branch, value));
  const told = fitting.map((branch) => explain(branch, value, path));
  const least = told.toSorted((a, b) => a.length - b.length)[0];
  if (least !== undefined && (least.length === 0 || typeof value === 'object')) return least;
  return [{ path, message: `${preview(value)} does not fit`, allowed: describe(schema) }];
}

function explainArray(schema: Schema, value: readonly unknown[], path: string): readonly Problem[] {
  const { items } = schema;
  const problems = listProblems(schema, value, path);
  if (items !== undefined)
    for (const [index, entry] of value.entries())
      problems.push(...explain(items, entry, joinPath(path, index)));
  return problems;
}

/** Of the list itself. */
function listProblems(schema: Schema, value: readonly unknown[], path: string): Problem[] {
  const { minItems = 0, maxItems = Number.POSITIVE_INFINITY } = schema;
  if (value.length >= minItems && value.length <= maxItems) return [];
  return [{ path, message: `has ${value.length} entries`, allowed: describe(schema) }];
}

function explainObject(
  schema: Schema,
  value: Readonly<Record<string, unknown>>,
  path: string,
): readonly Problem[] {
  const problems = mapProblems(schema, value, path);
  for (const key of Object.keys(value)) {
    const below = propertySchema(schema, key);
    if (below === null) problems.push(unknownKey(schema, key, path));
    else problems.push(...explain(below, value[key], joinPath(path, key)));
  }
  return problems;
}

/** Of the map itself. */
function mapProblems(
  schema: Schema,
  value: Readonly<Record<string, unknown>>,
  path: string,
): Problem[] {
  const problems: Problem[] = [];
  if (Object.keys(value).length < (schema.minProperties ?? 0))
    problems.push({ path, message: 'is empty', allowed: describe(schema) });
  for (const key of schema.required ?? [])
    if (!Object.hasOwn(value, key))
      problems.push({
        path: joinPath(path, key),
        message: 'is missing',
        allowed: describe(schema.properties?.[key] ?? {}),
      });
  return problems;
}

function propertySchema(schema: Schema, key: string): Schema | null {
  const { properties = {}, patternProperties = {} } = schema;
  if (Object.hasOwn(properties, key)) return properties[key] ?? null;
  for (const [pattern, below] of Object.entries(patternProperties))
    if (new RegExp(pattern).test(key)) return below;
  return null;
}

function unknownKey(schema: Schema, key: string, path: string): Problem {
  const where = joinPath(path, key);
  if (schema.patternProperties !== undefined)
    return {
      path: where,
      message: 'is no valid name',
      allowed: Object.hasOwn(schema.patternProperties, NAME_PATTERN)
        ? '1 to 63 letters, digits, dots, dashes, underscores, beginning with a letter or digit'
        : describe(schema),
    };
  const known = Object.keys(schema.properties ?? {});
  const meant = nearestWord(key, known);
  return {
    path: where,
    message: meant === null ? 'unknown key' : `unknown key; did you mean "${meant}"?`,
    allowed: known.length === 0 ? 'nothing: {}' : known.join(', '),
  };
}

function typeFits(schema: Schema, value: unknown): boolean {
  if (schema.anyOf !== undefined) return schema.anyOf.some((branch) => typeFits(branch, value));
  if (schema.const !== undefined) return schema.const === value;
  if (schema.enum !== undefined) return schema.enum.includes(value);
  if (schema.type === 'object') return isObject(value);
  if (schema.type === 'array') return Array.isArray(value);
  if (schema.type === 'integer') return Number.isInteger(value);
  if (schema.type === 'number') return Number.isFinite(value);
  return schema.type === undefined || typeof value === schema.type;
}

function misfit(schema: Schema, value: unknown): string {
  const known = (schema.enum ?? []).filter((word) => typeof word === 'string');
  if (known.length === 0 || typeof value !== 'string') return `${preview(value)} does not fit`;
  const meant = nearestWord(value, known);
  const hint = meant === null ? '' : `; did you mean "${meant}"?`;
  return `${preview(value)} is unknown${hint}`;
}

function scalarMessage(schema: Schema, value: unknown): string | null {
  if (typeof value === 'string') {
    if (schema.pattern !== undefined && !new RegExp(schema.pattern).test(value))
      return `${preview(value)} does not fit`;
    if (value.length < (schema.minLength ?? 0)) return 'is too short';
    if (value.length > (schema.maxLength ?? Number.POSITIVE_INFINITY)) return 'is too long';
  }
  if (typeof value === 'number') {
    const { minimum = Number.NEGATIVE_INFINITY, maximum = Number.POSITIVE_INFINITY } = schema;
    if (value < minimum || value > maximum) return `${value} is out of range`;
  }
  return null;
}

/** What a schema allows, in words; a description in the schema comes first. */
function describe(schema: Schema): string {
  if (schema.description !== undefined) return schema.description;
  if (schema.anyOf !== undefined) return schema.anyOf.map(describe).join(', or ');
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum !== undefined) return schema.enum.join(', ');
  if (schema.type === 'object')
    return schema.properties === undefined
      ? 'a map'
      : `a map with ${Object.keys(schema.properties).join(', ') || 'nothing in it: {}'}`;
  if (schema.type === 'array') return `a list of: ${describe(schema.items ?? {})}`;
  if (schema.type === 'boolean') return 'true or false';
  const { minimum, maximum } = schema;
  if (minimum !== undefined && maximum !== undefined)
    return `${schema.type === 'integer' ? 'a whole number' : 'a number'} from ${minimum} to ${maximum}`;
  return schema.type === 'string' ? 'a text' : `a value of type ${schema.type ?? 'any'}`;
}

function preview(value: unknown): string {
  if (value === null || value === undefined) return 'an empty value';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'a map';
  if (typeof value === 'number' || typeof value === 'boolean') return `${value}`;
  if (typeof value !== 'string') return `a value of type ${typeof value}`;
  const text = JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
