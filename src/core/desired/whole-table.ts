/** The IPVS table of a document by itself: nobody has voted, and no operator has said anything. */
import type { ClusterSpec } from '../../model/cluster.ts';
import type { DesiredService } from '../../model/kernel.ts';
import { deriveDesired } from './desired-state.ts';

/** Every real server is in, with its configured weight. */
export const deriveWholeTable = (spec: ClusterSpec): readonly DesiredService[] =>
  deriveDesired({ spec, checks: new Map(), overrides: [], statuses: new Map() }).services;
