-- What the warehouse's own people made: stock and shipments. Safe to repeat; the neighbour is sources_shop.sql.

CREATE TABLE IF NOT EXISTS public.stock (
    sku        text PRIMARY KEY,
    on_hand    int NOT NULL,
    reserved   int NOT NULL,
    counted_at timestamptz NOT NULL,
    counted_by text,
    reason     text
);

CREATE TABLE IF NOT EXISTS public.shipments (
    shipment_id bigint PRIMARY KEY,
    order_id    bigint NOT NULL,
    status      text NOT NULL,
    carrier     text,
    weights     numeric(8,3)[] NOT NULL CHECK (NOT weights && '{NaN}'),
    shipped_on  date,
    updated_at  timestamptz NOT NULL
);

-- 4 of 100 rows.
INSERT INTO public.stock
SELECT 'sku-' || n,
       n % 50,
       0,
       timestamptz '2026-06-01 06:00:00+00' + n * interval '1 second',
       (ARRAY['Fatima', 'Gus', 'Hanna'])[n % 3 + 1],
       'yearly count'
FROM generate_series(1, current_setting('demo.rows')::int / 25) AS n
ON CONFLICT DO NOTHING;

-- 8 of 100 rows.
INSERT INTO public.shipments
SELECT n,
       n,
       (ARRAY['packed', 'on the road', 'delivered'])[n % 3 + 1],
       CASE WHEN n % 6 <> 0 THEN 'carrier ' || n % 4 END,
       CASE WHEN n % 5 = 0 THEN '{}'::numeric[] ELSE ARRAY[n / 3.0, n / 7.0]::numeric(8,3)[] END,
       CASE WHEN n % 3 <> 0 THEN date '2026-03-01' + n % 90 END,
       timestamptz '2026-06-01 06:00:00+00' + n * interval '1 minute'
FROM generate_series(1, current_setting('demo.rows')::int * 8 / 100) AS n
ON CONFLICT DO NOTHING;
