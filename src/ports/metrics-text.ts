/** The other end of the metrics: the Prometheus text that `/metrics` serves. */
export interface MetricsText {
  readonly contentType: string;
  render(): Promise<string>;
}
