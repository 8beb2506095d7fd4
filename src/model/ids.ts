/** Branded scalars: values that must not be mixed up. Brand in parsers and adapters only. */
declare const brand: unique symbol;
type Brand<T, Name extends string> = T & { readonly [brand]: Name };

export type DirectorId = Brand<string, 'DirectorId'>;
export type GroupId = Brand<string, 'GroupId'>;
export type ServiceId = Brand<string, 'ServiceId'>;
/** `address:port` of a real server inside its virtual service, IPv6 as `[address]:port`. */
export type RealServerId = Brand<string, 'RealServerId'>;
/** Hash of a check's type, target and parameters (design 8): equal checks run once. */
export type CheckId = Brand<string, 'CheckId'>;
/** etcd mod revision; 0 means that the key is absent. */
export type Revision = Brand<number, 'Revision'>;
/** Fencing token of a VIP group: the mod revision of its owner key. Grows with every change of holder. */
export type Epoch = Brand<number, 'Epoch'>;
/** Mod revision of an open session record: a director's life in etcd. */
export type SessionId = Brand<number, 'SessionId'>;
/** Milliseconds of this machine's monotonic clock. Never compared between machines, never stored. */
export type MonoMs = Brand<number, 'MonoMs'>;
/** etcd lease id as a decimal string. */
export type LeaseId = Brand<string, 'LeaseId'>;

export const directorId = (text: string): DirectorId => text as DirectorId;
export const groupId = (text: string): GroupId => text as GroupId;
export const serviceId = (text: string): ServiceId => text as ServiceId;
export const realServerId = (text: string): RealServerId => text as RealServerId;
export const checkId = (text: string): CheckId => text as CheckId;
export const revision = (value: number): Revision => value as Revision;
export const monoMs = (value: number): MonoMs => value as MonoMs;
export const leaseId = (text: string): LeaseId => text as LeaseId;

/** The epoch of a group is the mod revision of its owner key. */
export const epochOf = (modRevision: Revision): Epoch => modRevision as number as Epoch;
/** The session id is the mod revision of the open session record. */
export const sessionIdOf = (modRevision: Revision): SessionId => modRevision as number as SessionId;
export const revisionOf = (token: Epoch | SessionId): Revision => token as number as Revision;

export const ABSENT = 0 as Revision;

/** Names of directors, groups and services: also parts of etcd keys and of URLs, hence no slash. */
export const NAME_PATTERN = '^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$';
