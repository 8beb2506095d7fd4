/** When etcd answers again: its members are asked for their health by the client, which takes a commit of all. */
import { firstAnswerAfter, startHttpProbe } from './client-probe.ts';
import { CLIENT, type ClusterLab } from './cluster-lab.ts';

const PERIOD_MS = 20;
/** A question that was sent to a member that still believes in the dead one is lost. */
const TIMEOUT_MS = 300;

export interface ElectionWatch {
  /** Ends it; gives when the first question that was asked after a moment was answered, by the records' clock. */
  stop(): Promise<(momentMs: number) => number>;
}

export async function startElectionWatch({ network, etcd }: ClusterLab): Promise<ElectionWatch> {
  const probes = await Promise.all(
    etcd.endpoints.map((endpoint) =>
      startHttpProbe(network, {
        client: CLIENT,
        url: `${endpoint}/health`,
        periodMs: PERIOD_MS,
        timeoutMs: TIMEOUT_MS,
      }),
    ),
  );
  return {
    async stop() {
      const records = await Promise.all(probes.map((probe) => probe.stop()));
      return (momentMs) =>
        Math.min(
          ...records.map((each) => firstAnswerAfter(each, momentMs) ?? Number.POSITIVE_INFINITY),
        );
    },
  };
}
