/** What the API may see of the running agent. Reads only: intents go to the cluster store. */
import type { ClusterSpec } from '../model/cluster.ts';
import type { DirectorId, GroupId, RealServerId, Revision, ServiceId } from '../model/ids.ts';
import type { StatusDocument } from '../model/status.ts';
import type { CheckReports } from '../model/status-checks.ts';
import type { EventRecord, OperationRecord, SpecRecord } from '../model/records.ts';
import type { IpvsView } from './ipvs-view.ts';

export type SpecView = {
  /** 0: nothing was applied yet. */
  readonly revision: Revision;
  /** As it is stored; null where nothing was applied. */
  readonly record: SpecRecord | null;
  /** Null where nothing usable was ever applied. */
  readonly spec: ClusterSpec | null;
};

export type Stored<T> = { readonly id: string; readonly revision: Revision; readonly record: T };

export interface AgentView {
  readonly cluster: string;
  readonly director: DirectorId;
  readonly ipvs: IpvsView;
  /** Of very many services what `prepareStatus` made last. */
  status(): StatusDocument;
  /** Makes ready what `status` tells of services; takes its time where there are very many. */
  prepareStatus(): Promise<void>;
  spec(): SpecView;
  /** Why this director cannot make the checks of a document, as the rest of a sentence; null: it can. In pieces. */
  judgeChecksSteps(spec: ClusterSpec): Generator<undefined, string | null>;
  /** Of a real server of the spec. */
  checks(service: ServiceId, realServer: RealServerId): CheckReports;
  /** True only while this director holds the group and is inside its deadline, judged at the call. */
  holdsNow(group: GroupId): boolean;
  /** The hold loop has turned within two rounds (or needs none): the process is not stuck. */
  isLive(): boolean;
  operations(): readonly Stored<OperationRecord>[];
  /** Oldest first; at most the last 1000. */
  events(): readonly Stored<EventRecord>[];
  /** New events until the signal aborts. */
  watchEvents(signal: AbortSignal): AsyncIterable<Stored<EventRecord>>;
}
