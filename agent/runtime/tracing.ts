/**
 * Sends traces to an OpenTelemetry collector when one is named by the standard
 * OTEL_EXPORTER_OTLP_ENDPOINT (or …_TRACES_ENDPOINT); otherwise nothing is loaded.
 */
import type { Logger } from 'pino';

/** @returns what to call before the process ends */
export async function startTracing(log: Logger): Promise<() => Promise<void>> {
  const { env } = process;
  const endpoint = env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT ?? env.OTEL_EXPORTER_OTLP_ENDPOINT;
  if (!endpoint || env.OTEL_SDK_DISABLED === 'true') return async () => {};
  const [{ trace }, { BatchSpanProcessor, TracerProvider }, { OTLPTraceExporter }, resources] =
    await Promise.all([
      import('@opentelemetry/api'),
      import('@opentelemetry/sdk-trace'),
      import('@opentelemetry/exporter-trace-otlp-proto'),
      import('@opentelemetry/resources'),
    ]);
  const provider = new TracerProvider({
    resource: resources.resourceFromAttributes({
      'service.name': env.OTEL_SERVICE_NAME ?? 'vfioscope',
    }),
    spanProcessors: [new BatchSpanProcessor({ exporter: new OTLPTraceExporter() })],
  });
  trace.setGlobalTracerProvider(provider);
  log.info({ event: 'traces.on', endpoint }, `sending traces to ${endpoint}`);
  return async () => {
    try {
      await provider.shutdown();
    } catch (error) {
      log.warn(
        { event: 'traces.lost', error: String(error) },
        `the last traces could not be sent: ${error}`,
      );
    }
  };
}
