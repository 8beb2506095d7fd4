/** Schema pieces shared by the status document, the listings and the API's requests. */
import Type from 'typebox';
import type { Static } from 'typebox';

export const AdminStateSchema = Type.Enum(['ready', 'drain', 'maint']);

export const ForwardSchema = Type.Enum(['dr', 'nat', 'tun']);

/** Counters since the start or the last zero, or rates a second. */
export const Traffic = Type.Object({
  connections: Type.Integer(),
  packetsIn: Type.Integer(),
  packetsOut: Type.Integer(),
  bytesIn: Type.Integer(),
  bytesOut: Type.Integer(),
});
export type Traffic = Static<typeof Traffic>;
