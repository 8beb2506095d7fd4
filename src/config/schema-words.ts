/** What the parts of the cluster document's shape have in common. */
import Type from 'typebox';
import { NAME_PATTERN } from '../model/ids.ts';
import { DURATION_HELP, DURATION_PATTERN } from './durations.ts';

export const strict = { additionalProperties: false } as const;

export const Name = Type.String({
  pattern: NAME_PATTERN,
  description:
    'a name: 1 to 63 letters, digits, dots, dashes, underscores, beginning with a letter or digit',
});
export const Duration = Type.String({ pattern: DURATION_PATTERN, description: DURATION_HELP });
export const Address = Type.String({ description: 'an IPv4 or IPv6 address' });
export const Cidr = Type.String({
  description: 'address/prefix, e.g. 10.90.0.100/24 or fd90::100/64',
});
export const Port = Type.Integer({ minimum: 1, maximum: 65535 });

export const named = <S extends Type.TSchema>(schema: S, description: string, minProperties = 0) =>
  Type.Record(Type.String({ pattern: NAME_PATTERN }), schema, {
    ...strict,
    minProperties,
    description,
  });

export const Count = (maximum: number) => Type.Integer({ minimum: 1, maximum });
export const File = Type.String({
  pattern: '^/[^\\0]*$',
  maxLength: 4096,
  description: 'an absolute path',
});
export const User = Type.String({
  pattern: '^[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,31})?$',
  description: 'a user, or user:group, by name or by number',
});
export const Command = Type.Union(
  [
    Type.String({ minLength: 1, maxLength: 4096 }),
    Type.Array(Type.String({ maxLength: 4096 }), { minItems: 1, maxItems: 64 }),
  ],
  {
    description:
      'a program with its arguments: a text that is split at spaces, or a list of 1 to 64 words',
  },
);
